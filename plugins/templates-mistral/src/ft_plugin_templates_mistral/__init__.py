"""Chat templates of Ministral, Mistral Small and Pixtral."""

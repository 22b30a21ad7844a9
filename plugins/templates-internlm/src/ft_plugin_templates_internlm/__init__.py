"""Chat templates of InternLM, InternVL and Intern-S1."""

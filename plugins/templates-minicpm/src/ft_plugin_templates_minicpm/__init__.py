"""Chat templates of MiniCPM, MiniCPM-V and MiniCPM-o."""

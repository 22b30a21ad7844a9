"""The trainer that all stages of ftk stand on."""

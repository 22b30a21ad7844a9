"""Binary classifier optimisation for ftk."""

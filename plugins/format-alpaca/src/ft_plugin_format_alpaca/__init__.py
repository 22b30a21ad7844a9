"""The alpaca data format for ftk."""

"""A release without what it does not use: whole modules, and functions inside the modules of OTP and Elixir."""

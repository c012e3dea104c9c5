"""What integration tests share: a daemon to start and stop, and a client that speaks raw frames."""

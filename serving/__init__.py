"""Serving of exported models over gRPC: embedded server and client."""

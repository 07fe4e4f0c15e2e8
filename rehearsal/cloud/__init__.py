"""An HTTP server on loopback that speaks Google's REST for the services of the stack."""

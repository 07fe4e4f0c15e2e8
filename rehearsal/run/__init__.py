"""Production brought up, used, changed, broken and taken down, on this machine."""

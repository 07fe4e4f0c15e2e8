"""Production: the resources on Google Cloud. Each module holds one thing; they meet in ``infra.program``."""

"""The backend on Cloud Run, as a Pulumi program that reads the database's stack."""

import pulumi
from backend import Backend

config = pulumi.Config()
backend = Backend(
    "gaia-backend", database=pulumi.StackReference(config.require("database")), image=config.require("image")
)
pulumi.export("url", backend.url)

"""Made-up data of a realistic shape: the same rows for the same plan, streamed as COPY takes them."""

"""Cloud Run jobs as real processes: what they see, who they are, how they end."""

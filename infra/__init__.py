"""The Pulumi program: settings, components for each target, and the contract they meet in."""

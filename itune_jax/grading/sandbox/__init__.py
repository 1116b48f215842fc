"""Programs that a model wrote run here, and their tests judge them from another process. docs/guides/sandbox.md."""

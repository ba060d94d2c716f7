"""Configuration: pydantic models and their loading. Imports neither torch, ray nor vllm."""

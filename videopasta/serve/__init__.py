"""A service on Ray Serve: a model behind OpenAI's protocol that sees videos, and pairs to order.

    client ─► door (FastAPI) ─► decoders ──frames──► engines         docs/serving.md
              token, limits     CPU replicas         replicas of the model
                 └──► pair jobs: `videopasta generate`, one folder each

`deployments.build` is the application, for `serve run` and KubeRay; `server.serve` starts it and stays with it.
"""

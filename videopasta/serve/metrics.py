"""What the service tells of itself, beside what Ray Serve and vLLM do: at Ray's Prometheus endpoint, as all of ours."""

from collections.abc import Callable

from videopasta.telemetry import Metric, Sample

METRICS = (
    Metric("counter", "videopasta_serve_requests", "Requests answered", ("route", "status")),
    Metric("counter", "videopasta_serve_seconds", "From a request's headers to its answer's end", ("route",)),
    Metric("gauge", "videopasta_serve_in_flight", "Requests in flight"),
    Metric(
        "counter", "videopasta_serve_tokens", "Tokens of answered chats; kind: prompt, cached, completion", ("kind",)
    ),
    Metric("counter", "videopasta_serve_first_words", "Chats that began to be answered"),
    Metric("counter", "videopasta_serve_first_words_seconds", "From their request to the first words"),
    Metric("gauge", "videopasta_serve_pair_jobs", "Pair jobs that run or wait", ("state",)),
)
Count = Callable[[Sample], None]

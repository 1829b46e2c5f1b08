"""What schemathesis must know of the API beyond its document."""

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):  # type: ignore[no-untyped-def]
    """A header and a field that say the same must agree, or the call is refused before anything else is looked at."""
    for header, field in (("Idempotency-Key", "requestId"), ("If-Match", "etag")):
        if isinstance(case.body, dict) and header in (case.headers or {}):
            case.body.pop(field, None)

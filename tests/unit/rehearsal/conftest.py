"""The provider's package is imported before any test, as the production tests do: parts of it warn on import."""

import tests.production.conftest  # noqa: F401

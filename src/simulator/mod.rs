//! A simulated Azure OpenAI resource, for tests, `demo` and `simulate`.

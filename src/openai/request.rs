//! Reading a request body without understanding all of it.

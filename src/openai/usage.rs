//! Finding the token usage of an answer.

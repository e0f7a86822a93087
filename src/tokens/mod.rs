//! From a request to the number of tokens it will be charged.

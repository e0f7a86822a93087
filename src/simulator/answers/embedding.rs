//! Embeddings: unit vectors that depend on nothing but the input.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use base64::Engine;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use super::{Order, render};
use crate::domain::Tokens;
use crate::simulator::ask::{Input, length};
use crate::simulator::reply::Reply;

/// More than any model has; a request cannot ask for a vector that fills the memory.
const MAX_DIMENSIONS: u64 = 4_096;

#[derive(Serialize)]
struct Answer<'a> {
    object: &'static str,
    data: Vec<Item>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// Answers an embeddings request; `bytes` has no meaning here.
pub(super) fn answer(order: Order<'_>) -> Reply {
    let default = if order.model == "text-embedding-3-large" {
        3_072
    } else {
        1_536
    };
    let asked = order.ask.amount("dimensions").unwrap_or(default);
    let dimensions = usize::try_from(asked.clamp(1, MAX_DIMENSIONS)).unwrap_or(1);
    let as_base64 = order.ask.text("encoding_format") == Some("base64");
    let inputs = order.ask.inputs("input");
    let text_tokens = inputs.iter().map(|input| input.tokens().0).sum();
    let tokens = order.overhead.on(Tokens(text_tokens)).0;
    let data = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| Item {
            object: "embedding",
            index,
            embedding: vector(input, dimensions, as_base64),
        })
        .collect();
    let answer = Answer {
        object: "list",
        data,
        model: order.model,
        usage: Usage {
            prompt_tokens: tokens,
            total_tokens: tokens,
        },
    };
    Reply::json(200, render(&answer))
}

fn vector(input: &Input, dimensions: usize, as_base64: bool) -> Vector {
    let floats = unit_vector(input, dimensions);
    if !as_base64 {
        return Vector::Floats(floats);
    }
    let bytes: Vec<u8> = floats
        .iter()
        .flat_map(|float| float.to_le_bytes())
        .collect();
    Vector::Base64(base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn unit_vector(input: &Input, dimensions: usize) -> Vec<f32> {
    // DefaultHasher::new has fixed keys: the same input gives the same vector in every process.
    let mut hasher = DefaultHasher::new();
    match input {
        Input::Text(text) => text.hash(&mut hasher),
        Input::Ids(ids) => (length(ids.len()), ids).hash(&mut hasher),
    }
    let mut random = SmallRng::seed_from_u64(hasher.finish());
    let raw: Vec<f32> = (0..dimensions)
        .map(|_| random.random_range(-1.0_f32..1.0))
        .collect();
    let norm = raw.iter().map(|float| float * float).sum::<f32>().sqrt();
    raw.iter()
        .map(|float| float / norm.max(f32::EPSILON))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one_and_depend_on_the_input() {
        let text = |text: &str| unit_vector(&Input::Text(text.to_owned()), 256);
        let first = text("a");

        let norm: f32 = first.iter().map(|float| float * float).sum();

        assert!((norm - 1.0).abs() < 1e-4);
        assert_eq!(first, text("a"));
        assert_ne!(first, text("b"));
        assert_ne!(
            unit_vector(&Input::Ids(vec![1]), 8),
            unit_vector(&Input::Ids(vec![2]), 8)
        );
    }
}

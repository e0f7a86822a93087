//! Reading a form, the body of calls with files, and where its `model` is to be edited.
//!
//! Of the options only those are read that routing and accounting need, wherever they stand; files are not looked at. A
//! form has one `model` at most: if it had two, nobody could say which one Azure takes. The form itself may lie on a
//! disk, so that an edit is told and not made: what is sent are the bytes before it, its own, and those behind it.

use std::ops::Range;

use bytes::Bytes;

use super::values::{checked_name, wrong_value};
use super::{Ask, Rejection, Spots, Uploads};
use crate::domain::{Deployment, Endpoint, Features, Outline};
use crate::openai::multipart::{Form, Malformed, Part};

/// One span of a body, and what stands there instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is left out.
    pub span: Range<usize>,
    /// What is put there.
    pub with: Bytes,
}

/// Where a form can be edited.
#[derive(Clone, Debug)]
pub struct Fields {
    boundary: Vec<u8>,
    /// Where the first part begins, or the end of the form if there is none.
    first: usize,
    model: Option<Part>,
}

impl Ask {
    /// Reads the form of a call, as [`Ask::read`] reads JSON.
    pub fn read_form(
        endpoint: Endpoint,
        form: Form,
        model_in_path: Option<&str>,
    ) -> Result<(Self, Fields), Rejection> {
        let parts = &form.parts;
        let option = |name: &str| {
            let named = |part: &&Part| !part.is_file && part.name == name.as_bytes();
            parts.iter().rfind(named)
        };
        let model_part = only_model(parts)?;
        let model = match (model_in_path, model_part) {
            (Some(name), _) => checked_name(name)?,
            (None, Some(part)) => checked_name(text(part)?)?,
            (None, None) => return Err(no_model()),
        };
        let n = option("n").and_then(|n| text(n).ok()?.trim().parse().ok());
        let stream = option("stream").map(|part| &part.text[..]);

        let ask = Self {
            endpoint,
            model,
            stream: stream.is_some_and(|value| value.eq_ignore_ascii_case(b"true")),
            wants_usage: false,
            output_cap: None,
            // Whether it may be that number is Azure's to say.
            completions: n.unwrap_or(1).max(1),
            ties: Vec::new(),
            outline: Outline::default(),
            features: Features::default(),
            uploads: Some(Uploads {
                files: parts.iter().filter(|part| part.is_file).count() as u64,
                prompt_bytes: option("prompt").map_or(0, |prompt| prompt.value.len() as u64),
            }),
            spots: Spots::default(),
        };
        let fields = Fields {
            first: form.first,
            model: model_part.cloned(),
            boundary: form.boundary,
        };
        Ok((ask, fields))
    }
}

impl Fields {
    /// Returns the edit that makes this deployment the form's `model`; `None` if it is that already.
    pub fn with_model(&self, deployment: &Deployment) -> Option<Edit> {
        let name = deployment.as_str().as_bytes();
        match &self.model {
            Some(part) if part.text == name => None,
            Some(part) => Some(Edit {
                span: part.value.clone(),
                with: Bytes::copy_from_slice(name),
            }),
            None => {
                let head = b"\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n";
                let part = [b"--", &self.boundary[..], head, name, b"\r\n"].concat();
                Some(Edit {
                    span: self.first..self.first,
                    with: part.into(),
                })
            }
        }
    }

    /// Returns the edit that leaves `model` out; `None` if the form has none.
    pub fn without_model(&self) -> Option<Edit> {
        let part = self.model.as_ref()?;
        Some(Edit {
            span: part.whole.clone(),
            with: Bytes::new(),
        })
    }
}

/// Returns what was filled in; of a long text the beginning, which is more than a field may hold that is read here.
fn text(part: &Part) -> Result<&str, Rejection> {
    let bytes = part.text.as_slice();
    let readable = match std::str::from_utf8(bytes) {
        // The last letter was cut, not misspelt.
        Err(error) if error.error_len().is_none() && part.value.len() > bytes.len() => {
            bytes.get(..error.valid_up_to()).unwrap_or_default()
        }
        Ok(_) | Err(_) => bytes,
    };
    std::str::from_utf8(readable)
        .map_err(|_| wrong_value("model", "a model name in UTF-8", "other bytes"))
}

fn only_model(parts: &[Part]) -> Result<Option<&Part>, Rejection> {
    let mut models = parts.iter().filter(|part| part.name == b"model");
    let model = models.next();
    match models.next() {
        None => Ok(model),
        Some(_) => Err(Rejection {
            param: Some("model"),
            code: "invalid_value",
            message: "Invalid form: the field 'model' is given more than once.".to_owned(),
        }),
    }
}

fn no_model() -> Rejection {
    Rejection {
        param: Some("model"),
        code: "missing_required_parameter",
        message: "Missing required parameter: 'model' (expected a field of the form).".to_owned(),
    }
}

impl From<Malformed> for Rejection {
    fn from(malformed: Malformed) -> Self {
        Self {
            param: None,
            code: "invalid_form",
            message: format!("The request body {malformed}."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ModelName;
    use crate::openai::multipart::Scanner;

    fn field(name: &str, value: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    }

    fn form(fields: &[&str]) -> String {
        fields.concat() + "--b--\r\n"
    }

    fn read(body: &str, model_in_path: Option<&str>) -> Result<(Ask, Fields), Rejection> {
        let mut scanner = Scanner::new(b"b".to_vec());
        scanner.scan(body.as_bytes())?;
        Ask::read_form(Endpoint::ImageEdits, scanner.finish()?, model_in_path)
    }

    fn edited(body: &str, edit: Option<Edit>) -> String {
        let mut edited = body.to_owned();
        if let Some(Edit { span, with }) = edit {
            edited.replace_range(span, std::str::from_utf8(&with).unwrap());
        }
        edited
    }

    #[test]
    fn options_that_matter_are_read_wherever_they_stand() {
        let body = form(&[
            &field("image[]\"; filename=\"a.png", "model"),
            &field("prompt", "A dot."),
            &field("n", "3"),
            &field("stream", "True"),
            &field("model", "gpt-image-1"),
            &field("mask\"; filename=\"b.png", ""),
        ]);

        let (ask, _) = read(&body, None).unwrap();

        assert_eq!(ask.model, ModelName::new("gpt-image-1"));
        assert_eq!((ask.completions, ask.stream), (3, true));
        let uploads = Uploads {
            files: 2,
            prompt_bytes: 6,
        };
        assert_eq!(ask.uploads, Some(uploads));
        assert_eq!(
            read(&body, Some("other")).unwrap().0.model,
            ModelName::new("other")
        );
    }

    #[test]
    fn the_model_is_replaced_added_or_left_out() {
        let (before, after) = (field("n", "1"), field("user", "u"));
        let with = |name: &str| form(&[&before, &field("model", name), &after]);
        let without = form(&[&before, &after]);
        let deployment = Deployment::new("mine");
        let (_, fields) = read(&with("theirs"), None).unwrap();

        let replaced = edited(&with("theirs"), fields.with_model(&deployment));
        assert_eq!(replaced, with("mine"));
        let left_out = edited(&with("theirs"), fields.without_model());
        assert_eq!(left_out, without);
        let same = Deployment::new("theirs");
        assert_eq!(fields.with_model(&same), None);
        for (body, added) in [
            (&without, form(&[&field("model", "mine"), &before, &after])),
            (&form(&[]), form(&[&field("model", "mine")])),
        ] {
            let (_, fields) = read(body, Some("theirs")).unwrap();
            assert_eq!(edited(body, fields.with_model(&deployment)), added);
            assert_eq!(fields.without_model(), None);
        }
    }

    #[test]
    fn refusals_name_the_field() {
        let model = field("model", "m");
        for (body, param, code) in [
            (form(&[]), Some("model"), "missing_required_parameter"),
            (
                form(&[&field("model", " ")]),
                Some("model"),
                "invalid_value",
            ),
            (form(&[&model, &model]), Some("model"), "invalid_value"),
            (
                form(&[&field("model", &"é".repeat(1_000))]),
                Some("model"),
                "invalid_value",
            ),
            (model, None, "invalid_form"),
        ] {
            let refused = read(&body, None).map(drop).unwrap_err();

            assert_eq!((refused.param, refused.code), (param, code), "{refused}");
        }
    }
}

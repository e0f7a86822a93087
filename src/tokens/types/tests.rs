//! Types as real counts showed them.

use super::*;

fn rendered(model: &str, schema: &str) -> String {
    let root: Json<'_> = serde_json::from_str(schema).unwrap();
    let mut text = String::new();
    Writer::new(&mut text, &Model::of(model), &root).push_parameters();
    text
}

#[test]
fn an_object_without_comments_stands_on_one_line() {
    let schema = r#"{"type":"object","required":["a"],"properties":{
        "a":{"type":"integer"},"b":{"type":"array","items":{"type":"number"}},"c":{"enum":["x",1]},
        "d":{"anyOf":[{"type":"string"},{"type":"null"}]},"e":{"type":"object"},"f":{},"g":{"type":["string","null"]}}}"#;

    assert_eq!(
        rendered("gpt-4o", schema),
        r#"{a: number, b?: number[], c?: "x" | 1, d?: string | null, e?: object, f?: any, g?: string | null}"#
    );
}

#[test]
fn comments_and_defaults_take_lines() {
    let schema = r#"{"title":"P","description":"All.","properties":{
        "a":{"type":"string","title":"A","description":"First.\n\nSecond. "},"b":{"type":"boolean","default":false}}}"#;

    assert_eq!(
        rendered("gpt-4o", schema),
        "// P\n//\n// All.\n{\n// A\n//\n// First.\n//\n// Second.\na?: string,\nb?: boolean, // default: false\n}"
    );
}

#[test]
fn items_with_comments_stand_in_angle_brackets() {
    let schema = r##"{"$defs":{"E":{"title":"E","type":"object","properties":{"n":{"type":"string"}},"required":["n"]}},
        "properties":{"a":{"type":"array","items":{"$ref":"#/$defs/E"}}},"required":["a"]}"##;

    assert_eq!(
        rendered("gpt-4o", schema),
        "{a: Array<\n// E\n{n: string}\n>}"
    );
}

#[test]
fn a_list_of_types_repeats_its_comment() {
    let schema =
        r#"{"properties":{"a":{"type":["string","null"],"description":"D"}},"required":["a"]}"#;

    assert_eq!(
        rendered("gpt-4o", schema),
        "{\n// D\na: \n// D\n | string\n// D\n | null\n,\n}"
    );
}

#[test]
fn newer_models_are_told_limits() {
    let schema = r#"{"properties":{"a":{"type":"integer","minimum":1,"maximum":9}}}"#;

    assert_eq!(
        rendered("gpt-5", schema),
        "{\na?: number, // minimum: 1, maximum: 9\n}"
    );
    assert_eq!(rendered("gpt-4o", schema), "{a?: number}");
}

#[test]
fn references_that_never_end_are_cut() {
    let loops = r##"{"$defs":{"A":{"$ref":"#/$defs/A"}},"properties":{"a":{"$ref":"#/$defs/A"}}}"##;
    let branches: Vec<String> = (0..40)
        .map(|index| format!(r##""p{index}":{{"$ref":"#"}}"##))
        .collect();
    let grows = format!(r#"{{"properties":{{{}}}}}"#, branches.join(","));

    assert_eq!(rendered("gpt-4o", loops), "{a?: any}");
    assert!(rendered("gpt-4o", &grows).len() < 2 * MAX_REFERRING_BYTES);
}

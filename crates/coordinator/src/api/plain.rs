//! What makes the description readable for programs that write clients from it: each kind of
//! thing has a name of its own, and lists are lists of one thing.

use serde_json::{Map, Value, json};

/// Says in names and plain lists what the schemas say in nested ones.
pub(super) fn make_plain(schemas: &mut Map<String, Value>) {
    schemas.values_mut().for_each(pairs_are_lists);
    let mut named = Map::new();
    for (union, schema) in schemas.iter_mut() {
        let variants = schema.get_mut("oneOf").and_then(Value::as_array_mut);
        for variant in variants.into_iter().flatten() {
            name_variant(&mut named, union, variant);
        }
    }
    schemas.extend(named);
}

/// A pair of two equal things is a list of two: `items: false` is beyond many generators.
fn pairs_are_lists(schema: &mut Value) {
    if schema.get("items") == Some(&Value::Bool(false))
        && let Some(items) = schema["prefixItems"].as_array().cloned()
        && let Some((first, rest)) = items.split_first()
        && rest.iter().all(|item| item == first)
        && let Some(fields) = schema.as_object_mut()
    {
        fields.retain(|key, _| key != "prefixItems");
        fields.insert("items".to_owned(), first.clone());
        fields.insert("minItems".to_owned(), items.len().into());
        fields.insert("maxItems".to_owned(), items.len().into());
    }
    match schema {
        Value::Object(fields) => fields.values_mut().for_each(pairs_are_lists),
        Value::Array(items) => items.iter_mut().for_each(pairs_are_lists),
        _ => {}
    }
}

/// A variant that is written out in place gets the name `UnionVariant`, and what stands
/// behind its only key `UnionVariantBody`.
fn name_variant(named: &mut Map<String, Value>, union: &str, variant: &mut Value) {
    if variant.get("properties").is_none() && variant.get("allOf").is_none() {
        return;
    }
    let Some(word) = word_of(variant) else { return };
    let name = format!("{union}{}", camel(&word));
    if let Some(body) = variant.pointer_mut(&format!("/properties/{word}"))
        && body.get("properties").is_some()
    {
        let body_name = format!("{name}Body");
        let whole = std::mem::replace(body, reference(&body_name));
        named.insert(body_name, whole);
    }
    let whole = std::mem::replace(variant, reference(&name));
    named.insert(name, whole);
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The word by which a variant is told from the others: the value of its tag, or its only key.
fn word_of(variant: &Value) -> Option<String> {
    let whole = std::slice::from_ref(variant);
    let parts = variant["allOf"].as_array().map_or(whole, Vec::as_slice);
    let tagged = parts.iter().filter_map(|part| part["properties"].as_object()).flatten();
    let mut words = tagged.filter_map(|(_, value)| match value["enum"].as_array()?.as_slice() {
        [Value::String(word)] => Some(word.clone()),
        _ => None,
    });
    words.next().or_else(|| match variant["required"].as_array()?.as_slice() {
        [Value::String(key)] if variant["maxProperties"] == 1 => Some(key.clone()),
        _ => None,
    })
}

/// `work_tree` as `WorkTree`.
fn camel(word: &str) -> String {
    let parts = word.split(['_', '-']).filter(|part| !part.is_empty());
    parts.map(|part| part[..1].to_uppercase() + &part[1..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(schemas: Value) -> Value {
        let mut schemas = schemas.as_object().cloned().expect("an object");
        make_plain(&mut schemas);
        schemas.into()
    }

    #[test]
    fn variants_have_names() {
        let tag = |word: &str| {
            json!({ "type": "object", "required": ["do"],
            "properties": { "do": { "type": "string", "enum": [word] } } })
        };
        let told = plain(json!({ "Order": { "oneOf": [
            tag("go_up"),
            { "allOf": [{ "$ref": "#/components/schemas/Down" }, tag("down")] },
            { "type": "object", "required": ["code"], "maxProperties": 1,
              "properties": { "code": { "type": "object", "properties": { "n": {} } } } },
            { "$ref": "#/components/schemas/Other" },
            { "type": "null" },
        ] } }));
        let mut names: Vec<_> = told.as_object().expect("an object").keys().collect();
        names.sort();
        assert_eq!(names, ["Order", "OrderCode", "OrderCodeBody", "OrderDown", "OrderGoUp"]);
        let variants = told["Order"]["oneOf"].as_array().expect("a list");
        assert_eq!(variants[0], reference("OrderGoUp"));
        assert_eq!(variants[3], reference("Other"));
        assert_eq!(told["OrderCode"]["properties"]["code"], reference("OrderCodeBody"));
        assert_eq!(told["OrderGoUp"], tag("go_up"));
    }

    #[test]
    fn pairs_are_lists_of_two() {
        let text = json!({ "type": "string" });
        let pair = json!({ "type": "array", "items": false, "prefixItems": [text, text] });
        let told = plain(json!({ "Headers": { "type": "array", "items": pair } }));
        let list = json!({ "type": "array", "items": text, "minItems": 2, "maxItems": 2 });
        assert_eq!(told["Headers"]["items"], list);
    }
}

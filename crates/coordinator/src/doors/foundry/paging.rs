//! Pages, for three kinds of clients at once: one follows `pagination_token`, one follows
//! `last_id` for as long as there is one, and one follows `last_id` while `has_more`.

use greenroom_protocol::Problem;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::ApiResult;

/// Entries of a page, unless it is said.
const USUAL: usize = 20;
/// Entries of a page at most.
const MOST: u64 = 100;

/// Which page. A number is read by ourselves, so that an error names it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PageQuery {
    limit: Option<String>,
    order: Option<String>,
    after: Option<String>,
    before: Option<String>,
    pagination_token: Option<String>,
}

/// Which page, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) limit: usize,
    /// Whether a limit was asked for.
    pub(super) limited: bool,
    pub(super) oldest_first: bool,
    /// An entry, and whether the page is what comes before it.
    pub(super) beyond: Option<(String, bool)>,
}

impl PageQuery {
    /// Checks it. `oldest_first` is the order unless another is asked for.
    pub(super) fn page(self, oldest_first: bool) -> ApiResult<Page> {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let asked = some(self.limit);
        let limit = match asked.as_deref() {
            None => USUAL,
            Some(text) => match text.parse::<u64>() {
                Ok(limit) if limit > 0 => limit.min(MOST) as usize,
                _ => {
                    let detail = format!("limit {text:?} is not a number from 1 to {MOST}");
                    return Err(Problem::invalid(detail).at("limit").into());
                }
            },
        };
        let oldest_first = match some(self.order).as_deref() {
            None => oldest_first,
            Some("asc") => true,
            Some("desc") => false,
            Some(_) => return Err(Problem::invalid("order is asc or desc").at("order").into()),
        };
        let after = some(self.after).or(some(self.pagination_token)).map(|id| (id, false));
        let before = some(self.before).map(|id| (id, true));
        if after.is_some() && before.is_some() {
            let detail = "after and before cannot both be given";
            return Err(Problem::invalid(detail).at("before").into());
        }
        let beyond = after.or(before);
        Ok(Page { limit, limited: asked.is_some(), oldest_first, beyond })
    }
}

/// A page as it is answered. Its last entry is named only where another page follows: there
/// are clients that go on for as long as one is.
pub(super) fn answer(items: Vec<Value>, id: &str, more: bool) -> Value {
    let name = |item: Option<&Value>| item.map_or(Value::Null, |item| item[id].clone());
    let last = if more { name(items.last()) } else { Value::Null };
    let mut page = json!({
        "object": "list", "first_id": name(items.first()), "last_id": last.clone(), "has_more": more,
    });
    if more {
        page["pagination_token"] = last;
    }
    page["data"] = items.into();
    page
}

/// The page of a list that is there as a whole, in its usual order: oldest first. Each entry
/// is named by `id`.
pub(super) fn cut(mut items: Vec<Value>, id: &str, page: &Page) -> (Vec<Value>, bool) {
    if !page.oldest_first {
        items.reverse();
    }
    let at = |name: &str| items.iter().position(|item| item[id] == name);
    match &page.beyond {
        Some((name, false)) => {
            let from = at(name).map_or(items.len(), |at| at + 1);
            items.drain(..from);
        }
        Some((name, true)) => {
            let to = at(name).unwrap_or_default();
            let from = to.saturating_sub(page.limit);
            let more = from > 0;
            return (items.drain(from..to).collect(), more);
        }
        None => {}
    }
    let more = items.len() > page.limit;
    items.truncate(page.limit);
    (items, more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(limit: usize, beyond: Option<(&str, bool)>, oldest_first: bool) -> Page {
        let beyond = beyond.map(|(name, before)| (name.to_owned(), before));
        Page { limit, limited: true, oldest_first, beyond }
    }

    proptest! {
        #[test]
        fn every_entry_is_on_one_page(count in 0usize..30, limit in 1usize..9, asc: bool) {
            let all: Vec<Value> = (0..count).map(|n| json!({"id": format!("i{n}")})).collect();
            let mut seen = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let beyond = after.as_deref().map(|id| (id, false));
                let (items, more) = cut(all.clone(), "id", &page(limit, beyond, asc));
                let answer = answer(items.clone(), "id", more);
                seen.extend(items);
                prop_assert_eq!(answer["last_id"].is_null(), !more);
                match answer["last_id"].as_str() {
                    Some(last) => after = Some(last.to_owned()),
                    None => break,
                }
            }
            let mut expected = all;
            if !asc { expected.reverse(); }
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn a_page_before_an_entry_is_the_nearest() {
        let all: Vec<Value> = (0..6).map(|n| json!({"id": format!("i{n}")})).collect();
        let (items, more) = cut(all, "id", &page(2, Some(("i4", true)), true));
        assert_eq!((items, more), (vec![json!({"id": "i2"}), json!({"id": "i3"})], true));
    }

    #[test]
    fn what_is_no_page_says_so() {
        let query = |text: &str| serde_json::from_value::<PageQuery>(json!({ "limit": text }));
        for bad in ["0", "-1", "x", "1.5"] {
            assert!(query(bad).expect("text").page(false).is_err(), "{bad}");
        }
        assert_eq!(query("1000").expect("text").page(false).expect("a page").limit, 100);
    }
}

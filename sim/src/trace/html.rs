//! A run as one page for a browser: a space-time diagram, what each step did, and what it changed. The page
//! holds everything it needs, in one file; nothing is loaded from anywhere.
//!
//! [`Page`] is plain data and knows no engine; [`of_trace`] makes one from a kept trace.

mod bands;
mod flights;
mod of_trace;
mod page;
mod planned;
mod states;
mod thin;

pub use self::of_trace::{About, of_trace};
pub use self::page::{
    Act, ActKind, Band, BandKind, End, Ending, Flight, Kind, Lane, LeftOut, Outage, Page, PlanItem, Planned,
    Step, Touch, TouchKind,
};
pub(crate) use self::states::compact;
pub use self::thin::{PAGE_BYTES, render_within};

const TEMPLATE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/page.css");
const SCRIPTS: [&str; 3] =
    [include_str!("html/model.js"), include_str!("html/diagram.js"), include_str!("html/page.js")];

/// The whole page.
pub fn render(page: &Page) -> String {
    let data = serde_json::to_string(page).expect("a page is plain data and always serialises");
    let title = format!("{}: {}", page.title, page.ending.headline);
    let title = title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    fill(TEMPLATE, |name| match name {
        "title" => title.clone(),
        "style" => STYLE.to_owned(),
        "script" => SCRIPTS.concat(),
        "data" => within_script(&data),
        unknown => unreachable!("the template has no place called {unknown}"),
    })
}

/// JSON that can stand within a `<script>`: no text in it can end the element or open a comment.
fn within_script(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// A template with its `{{places}}` filled. What is filled in is not looked at again.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("every place of the template is closed");
        out.push_str(before);
        out.push_str(&value(name));
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_the_script() {
        let escaped = within_script(r#"["</script><!-- & \u2028"]"#);
        assert!(!escaped.contains('<') && !escaped.contains('>') && !escaped.contains('&'));
        let back: Vec<String> = serde_json::from_str(&escaped).expect("it is still JSON");
        assert_eq!(back, ["</script><!-- & \u{2028}"]);
    }

    #[test]
    fn what_is_filled_in_is_not_a_template() {
        assert_eq!(fill("a{{x}}b{{y}}c", |name| format!("<{{{{{name}}}}}>")), "a<{{x}}>b<{{y}}>c");
    }
}

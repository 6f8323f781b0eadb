//! Types traced, texts written and read, values shown as JSON, keys in words, differences in words.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::keyed::Key;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Count {
    total: u64,
    last: Option<String>,
    mean: f64,
    kinds: Vec<Kind>,
    by: BTreeMap<String, (i16, u128)>,
    wrapped: Wrapped,
    pair: Pair,
    nothing: Nothing,
    letter: char,
    flag: bool,
    odd: HashMap<(u8, i8), Option<Kind>>,
    array: [u16; 7],
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Kind {
    #[default]
    Small,
    Big(u64),
    Both(i32, String),
    Named {
        a: u8,
        b: Vec<i64>,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Wrapped(Vec<u32>);
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Pair(u32, Wrapped);
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Nothing;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Expr {
    Add(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    All(Vec<Expr>),
    Number(i64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tree {
    at: u32,
    left: Link,
    right: Link,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Link(Option<Box<Tree>>);

/// What `serde_json` makes of it, with the numbers of 128 bits as this crate writes them.
fn shown<T: DeserializeOwned + Serialize>(value: &T) -> Value {
    let bytes = postcard::to_allocvec(value).unwrap();
    Show::default().value(&Format::of::<T>(), &bytes).unwrap()
}

fn text<T: DeserializeOwned>() -> String {
    let format = Format::of::<T>();
    let text = format.to_string();
    assert_eq!(text.parse::<Format>().as_ref(), Ok(&format), "{text}");
    text
}

#[test]
fn a_struct_has_the_format_a_person_would_write() {
    assert_eq!(
        text::<Count>(),
        "{ total: u64, last: option<text>, mean: f64, kinds: [T1], by: map<text, (i16, u128)>, \
         wrapped: [u32], pair: (u32, [u32]), nothing: unit, letter: char, flag: bool, \
         odd: map<(u8, i8), option<T1>>, array: [u16; 7] } \
         where T1 = enum { Small, Big u64, Both (i32, text), Named { a: u8, b: [i64] } }"
    );
    assert_eq!(text::<Option<Vec<Kind>>>().matches("Named").count(), 1);
    assert_eq!(text::<()>(), "unit");
    assert_eq!(text::<BTreeSet<String>>(), "[text]");
    assert_eq!(text::<NonZeroU32>(), "u32");
    assert_eq!(text::<std::time::Duration>(), "{ secs: u64, nanos: u32 }");
    assert_eq!(text::<std::net::IpAddr>(), "enum { V4 (u8, u8, u8, u8), V6 [u8; 16] }");
}

#[test]
fn types_that_hold_themselves_come_to_an_end_in_any_order_of_variants() {
    let expr = "enum { Add (T1, T1), Not T1, All [T1], Number i64 }";
    assert_eq!(text::<Expr>(), format!("T1 where T1 = {expr}"));
    let tree = "{ at: u32, left: option<T1>, right: option<T1> }";
    assert_eq!(text::<Tree>(), format!("T1 where T1 = {tree}"));
    assert_eq!(text::<Link>(), format!("option<T1> where T1 = {tree}"), "newtypes do not show");
    assert_eq!(text::<Loop>(), "T1 where T1 = option<T1>");

    let leaf = || Link(None);
    let tree = Tree { at: 1, left: leaf(), right: leaf() };
    let tree = Tree { at: 2, left: Link(Some(Box::new(tree))), right: leaf() };
    assert_eq!(shown(&tree), serde_json::to_value(&tree).unwrap());
    let expr = Expr::Not(Box::new(Expr::All(vec![Expr::Number(-3)])));
    assert_eq!(shown(&expr), serde_json::to_value(&expr).unwrap());
}

#[derive(Serialize, Deserialize)]
struct Loop(Option<Box<Loop>>);

#[test]
fn a_type_without_an_end_is_opaque() {
    #[derive(Debug, Deserialize)]
    struct Endless {
        #[serde(rename = "next")]
        _next: Box<Endless>,
    }
    let error = Format::traced::<Endless>().unwrap_err();
    assert!(error.why.contains("nested more than"), "{error}");
    assert!(matches!(Format::of::<Endless>().shape, Shape::Opaque(_)));
}

macro_rules! many {
    ($($variant:ident)*) => {
        #[derive(Debug, Deserialize)]
        enum Many { $($variant(#[allow(dead_code, reason = "only its type is used")] Box<Many>, #[allow(dead_code, reason = "only its type is used")] Option<u8>),)* End }
        const MANY: usize = [$(stringify!($variant)),*].len() + 1;
    };
}
many! {
    A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 B0 B1 B2 B3 B4 B5 B6 B7 B8 B9 C0 C1 C2 C3 C4 C5 C6 C7 C8 C9
    D0 D1 D2 D3 D4 D5 D6 D7 D8 D9 E0 E1 E2 E3 E4 E5 E6 E7 E8 E9 F0 F1 F2 F3 F4 F5 F6 F7 F8 F9
    G0 G1 G2 G3 G4 G5 G6 G7 G8 G9 H0 H1 H2 H3 H4 H5 H6 H7 H8 H9 I0 I1 I2 I3 I4 I5 I6 I7 I8 I9
}

#[test]
fn an_enum_of_more_variants_than_the_depth_that_all_hold_it_is_traced_whole() {
    let Format { shape, definitions } = Format::traced::<Many>().unwrap();
    assert_eq!(shape, Shape::Defined(0));
    let Shape::Enum(variants) = &definitions[0] else { panic!("{definitions:?}") };
    assert_eq!(variants.len(), MANY);
    assert!(variants[..MANY - 1].iter().all(|v| v.shape.to_string() == "(T1, option<u8>)"));
}

#[test]
fn one_generic_type_may_be_used_twice_and_enums_below_options_show_every_variant() {
    #[derive(Deserialize)]
    struct Of<T> {
        #[serde(rename = "value")]
        _value: T,
    }
    #[derive(Deserialize)]
    struct Both {
        #[serde(rename = "a")]
        _a: Of<u8>,
        #[serde(rename = "b")]
        _b: Of<Option<Vec<Outer>>>,
    }
    #[derive(Deserialize)]
    enum Outer {
        In(#[allow(dead_code, reason = "only its type is used")] Option<Kind>),
        Out,
    }
    assert_eq!(
        text::<Both>(),
        "{ a: { value: u8 }, b: { value: option<[enum { In option<enum { Small, Big u64, \
         Both (i32, text), Named { a: u8, b: [i64] } }>, Out }]> } }"
    );
}

#[test]
fn aliases_and_odd_names_do_not_shift_what_follows() {
    #[derive(Serialize, Deserialize)]
    struct Renamed {
        #[serde(rename = "the count", alias = "n", alias = "amount")]
        count: u64,
        z: bool,
    }
    #[derive(Serialize, Deserialize)]
    enum Way {
        #[serde(alias = "Links", alias = "L")]
        Left,
        Right(u8),
    }
    assert_eq!(text::<Renamed>(), "{ 0: u64, 1: bool }");
    assert_eq!(text::<Way>(), "enum { 0, 1 u8 }");
    assert_eq!(shown(&Renamed { count: 3, z: true }), json!({ "0": 3, "1": true }));
    assert_eq!(shown(&Way::Right(4)), json!({ "1": 4 }));
    assert_eq!(shown(&Way::Left), json!("0"));
    #[derive(Serialize, Deserialize)]
    struct Odd {
        #[serde(rename = "the \"count\"\n")]
        count: u64,
    }
    assert_eq!(text::<Odd>(), r#"{ "the \"count\"\n": u64 }"#);
}

#[test]
fn what_refuses_what_is_made_up_is_opaque_and_shown_as_bytes() {
    #[derive(Debug, Serialize)]
    struct Even(String);
    impl<'de> Deserialize<'de> for Even {
        fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Even, D::Error> {
            let text = String::deserialize(d)?;
            let even = text.len().is_multiple_of(2) && !text.is_empty();
            if even { Ok(Even(text)) } else { Err(serde::de::Error::custom("an even text")) }
        }
    }
    let error = Format::traced::<Even>().unwrap_err();
    assert_eq!(error.why, "an even text");
    assert!(text::<Even>().starts_with("opaque \"egret_state::keyed::format::tests::"));
    assert_eq!(shown(&Even("ab".into())), json!({ "bytes": "026162" }));
    assert_eq!(
        Format::map_of::<u8, Even>().to_string().split(" \"").next(),
        Some("map<u8, opaque")
    );
    assert_eq!(Format::map_of::<u8, Kind>().shape.to_string().split(' ').next(), Some("map<u8,"));
    assert!(matches!(Format::of::<Value>().shape, Shape::Opaque(_)), "it asks for any value");
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Small),
        any::<u64>().prop_map(Kind::Big),
        any::<(i32, String)>().prop_map(|(n, text)| Kind::Both(n, text)),
        any::<(u8, Vec<i64>)>().prop_map(|(a, b)| Kind::Named { a, b }),
    ]
}

prop_compose! {
    fn count()(
        (total, last, mean, flag, letter) in any::<(u64, Option<String>, f64, bool, char)>(),
        kinds in proptest::collection::vec(kind(), 0..4),
        by in proptest::collection::btree_map(any::<String>(), any::<(i16, u128)>(), 0..3),
        (wrapped, one, array) in any::<(Vec<u32>, u32, [u16; 7])>(),
    ) -> Count {
        let (wrapped, odd) = (Wrapped(wrapped), HashMap::from([((1, -1), kinds.first().cloned())]));
        let pair = Pair(one, wrapped.clone());
        Count { total, last, mean, kinds, by, wrapped, pair, nothing: Nothing, letter, flag, odd, array }
    }
}

/// What `serde_json` makes of it; 128 bits and keys that are no names are what it cannot.
fn expected(count: &Count) -> Value {
    let by = count.by.iter().map(|(k, (n, wide))| (k.clone(), json!([n, wide.to_string()])));
    let odd = count.odd.iter().map(|((a, b), kind)| json!([[a, b], kind]));
    json!({
        "total": count.total, "last": count.last, "mean": count.mean, "kinds": count.kinds,
        "by": by.collect::<serde_json::Map<_, _>>(), "wrapped": count.wrapped, "pair": count.pair,
        "nothing": null, "letter": count.letter, "flag": count.flag,
        "odd": odd.collect::<Vec<_>>(), "array": count.array,
    })
}

proptest! {
    #[test]
    fn a_value_is_shown_as_serde_json_would(count in count()) {
        prop_assert_eq!(shown(&count), expected(&count));
    }

    #[test]
    fn any_bytes_are_shown_or_refused_without_panic(bytes: Vec<u8>, cut in 0usize..400, count in count()) {
        for format in [Format::of::<Count>(), Format::of::<Expr>(), Format::of::<Vec<()>>()] {
            let _ = Show::up_to(1000).value(&format, &bytes);
        }
        let whole = postcard::to_allocvec(&count).unwrap();
        let part = &whole[..cut.min(whole.len() - 1)];
        prop_assert!(Show::default().value(&Format::of::<Count>(), part).is_err(), "it is cut short");
    }

    #[test]
    fn any_text_is_a_format_or_refused_without_panic(text in "[ -~]{0,60}", words in words()) {
        let _ = (text.parse::<Format>(), text.parse::<Schema>());
        if let Ok(format) = words.parse::<Format>() {
            let canonical = format.to_string();
            prop_assert_eq!(canonical.parse::<Format>(), Ok(format), "{}", canonical);
        }
    }

    #[test]
    fn keys_come_back_from_json_and_from_words(text: String, bytes: Vec<u8>, n: u64, i: i32, w: u128, v: i128) {
        let _ = (KeyFormat::Text.to_json(&bytes), <(String, i64)>::format().to_json(&bytes));
        there_and_back(text.as_str());
        there_and_back(&bytes[..]);
        there_and_back(&n);
        there_and_back(&i);
        there_and_back(&w);
        there_and_back(&v);
        there_and_back(&(n.is_multiple_of(2)));
        there_and_back(&());
        there_and_back(&((text, v), (bytes, i)));
    }
}

/// Texts that are nearly formats.
fn words() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("u8"),
        Just("option<"),
        Just(">"),
        Just("["),
        Just("]"),
        Just("; 9"),
        Just("map<"),
        Just(", "),
        Just("{ a: "),
        Just("}"),
        Just("enum { A "),
        Just("T1"),
        Just(" where T1 = "),
        Just("("),
        Just(")"),
        Just("opaque \"x\""),
    ];
    proptest::collection::vec(word, 1..8).prop_map(|words| words.concat())
}

fn there_and_back<K: Key + ?Sized>(key: &K) {
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    let format = K::format();
    assert_eq!(format.from_json(&format.to_json(&bytes)).as_ref(), Ok(&bytes), "{format}");
    assert_eq!(format.from_word(&format.to_word(&bytes)).as_ref(), Ok(&bytes), "{format}");
}

#[test]
fn a_list_of_nothing_of_any_length_and_a_type_that_is_only_itself_come_to_an_end() {
    let claim = postcard::to_allocvec(&u64::MAX).unwrap();
    let endless = Show::default().value(&Format::of::<Vec<()>>(), &claim);
    assert_eq!(endless, Err(ShowError::TooMuch { max: crate::caps::SHOWN_VALUES_MAX }));
    for text in ["T1 where T1 = (T1,)", "T1 where T1 = [T1; 9]", "T1 where T1 = option<T1>"] {
        let format: Format = text.parse().unwrap();
        assert!(Show::default().value(&format, &[1; 1000]).is_err(), "{text}");
    }
    let nested = format!("{}u8{}", "option<".repeat(5000), ">".repeat(5000));
    assert!(nested.parse::<Format>().is_err());
    for text in ["T1", "T1 where T1 = T1", "u8 where T2 = u8", "enum { }", "[u8; 3]", "u8 u8", ""] {
        assert!(text.parse::<Format>().is_err(), "{text}");
    }
}

#[test]
fn a_key_that_is_none_says_how_one_is_written() {
    let wrong = |format: KeyFormat, word| format.from_word(word).unwrap_err().to_string();
    let says = "`300` is no key of format `u8`: write a whole number within its range, not below 0";
    assert_eq!(wrong(u8::format(), "300"), says);
    assert!(wrong(i8::format(), "-129").contains("within its range"));
    assert_eq!(i8::format().from_word("-128"), Ok(vec![0x80]));
    assert!(wrong(<[u8]>::format(), "0x0g").contains("hexadecimal"));
    assert_eq!(<[u8]>::format().from_word("heron"), Ok(b"heron".to_vec()));
    assert_eq!(<[u8]>::format().from_word("0x00ff"), Ok(vec![0, 255]));
    assert_eq!(<[u8]>::format().to_word(b"0xab"), "0x30786162", "what looks like it is written so");
    let pair = <(String, u32)>::format();
    assert!(wrong(pair.clone(), "heron").contains("JSON list of two"));
    assert!(wrong(pair.clone(), "[\"heron\", -1]").contains("not below 0"));
    let mut bytes = Vec::new();
    ("heron".to_owned(), 7u32).encode(&mut bytes);
    assert_eq!(pair.from_word("[\"heron\", 7]"), Ok(bytes));
}

fn schema(state: StateFormat) -> Schema {
    Schema { label: "v1".into(), key: <(String, u64)>::format(), state }
}

#[test]
fn the_text_of_a_schema_is_frozen_and_reads_back() {
    let parts = StateFormat::parts(vec![
        Part::list(2, "recent", Format::seq_of::<Tree>()),
        Part::map(0, "seen it", Format::map_of::<String, u32>()),
        Part::value(7, "total", Format::of::<u64>()),
    ]);
    let schema = schema(parts);
    let text = "label \"v1\"\nkey (text, u64)\npart 0 \"seen it\": map<text, u32>\n\
        part 2 recent: [T1] where T1 = { at: u32, left: option<T1>, right: option<T1> }\n\
        part 7 total = u64\n";
    assert_eq!(schema.to_string(), text);
    assert_eq!(text.parse(), Ok(schema.clone()));
    assert_eq!(schema.id(), crate::keyed::changelog::schema_id(text));
    let plain = Schema { state: StateFormat::Plain(Format::of::<Count>()), ..schema.clone() };
    assert_eq!(plain.to_string().parse(), Ok(plain.clone()));
    assert_ne!(plain.id(), Schema { label: String::new(), ..plain.clone() }.id());
    for wrong in ["key u8\n", "key u8\nstate u8", "state u8\n", "key u8\npart 1 a: u8\n"] {
        assert_eq!(wrong.parse::<Schema>().is_ok(), wrong == "key u8\n", "{wrong}");
    }
}

#[test]
fn cells_are_shown_as_what_their_parts_are() {
    let parts = StateFormat::parts(vec![
        Part::map(0, "seen", Format::map_of::<String, u32>()),
        Part::map(1, "odd", Format::map_of::<(u8, u8), Kind>()),
        Part::list(2, "recent", Format::seq_of::<i64>()),
        Part::value(3, "total", Format::of::<u64>()),
    ]);
    let bytes = |value: &dyn Fn() -> Vec<u8>| value();
    let heron = bytes(&|| postcard::to_allocvec("heron").unwrap());
    let kind = bytes(&|| postcard::to_allocvec(&Kind::Big(300)).unwrap());
    let cells: [Cell<'_>; 6] = [
        (0, &heron, &[9]),
        (1, &[4, 5], &kind),
        (2, &[0, 0, 0, 0, 0, 0, 0, 0], &[1]),
        (2, &[0, 0, 0, 0, 0, 0, 0, 1], &[2]),
        (3, &[], &[77]),
        (0xF0, &[1, 2, 3], &[4]),
    ];
    let shown = schema(parts.clone()).cells_json(cells);
    let odd = json!([[[4, 5], { "Big": 300 }]]);
    assert_eq!(
        shown,
        json!({ "seen": { "heron": 9 }, "odd": odd, "recent": [-1, 1], "total": 77 })
    );
    let none = schema(parts.clone()).cells_json([]);
    assert_eq!(none, json!({ "seen": {}, "odd": [], "recent": [], "total": null }));
    let bad = schema(parts).cells_json([(0, &heron[..], &[0x80u8][..])]);
    assert_eq!((bad["part"].clone(), bad["bytes"].clone()), (json!("seen"), json!("80")));
    let alone = StateFormat::parts(vec![Part::map(0, "", Format::map_of::<String, u32>())]);
    assert_eq!(schema(alone).cells_json(cells), json!({ "heron": 9 }));
    let plain = schema(StateFormat::Plain(Format::of::<u64>()));
    assert_eq!(plain.plain_json(&[5]), json!(5));
    assert_eq!(plain.plain_json(&[5, 5])["bytes"], json!("0505"));
}

fn told(old: &str, new: &str) -> Vec<(String, Effect)> {
    let (old, new) = (old.parse().unwrap(), new.parse().unwrap());
    let found = differences::of_formats("state", &old, &new);
    found.into_iter().map(|found| (found.to_string(), found.effect)).collect()
}

#[test]
fn differences_are_told_in_words_with_what_they_mean_for_stored_bytes() {
    let one = |old, new| match &told(old, new)[..] {
        [one] => one.clone(),
        all => panic!("{all:?}"),
    };
    let (reads, breaks) = (Effect::Reads, Effect::Breaks);
    let is = |(said, effect): (String, Effect), text: &str, wanted| {
        assert_eq!((said.as_str(), effect), (text, wanted));
    };
    is(one("{ a: u64 }", "{ b: u64 }"), "state.b: was called `a`", reads);
    is(one("{ a: u16 }", "{ a: u64 }"), "state.a: was u16, is u64", reads);
    is(one("{ a: u64 }", "{ a: u16 }"), "state.a: was u64, is u16", breaks);
    is(one("{ a: u8 }", "{ a: u16 }"), "state.a: was u8, is u16", breaks);
    is(one("{ a: u16 }", "{ a: i32 }"), "state.a: was u16, is i32", breaks);
    is(one("{ a: u8 }", "{ a: u8, b: [text] }"), "state: field `b: [text]` is new", breaks);
    is(one("{ a: u8, b: u8 }", "{ b: u8 }"), "state: field `a` is gone", breaks);
    is(
        one("{ a: u8, b: u8 }", "{ b: u8, a: u8 }"),
        "state: its fields are in another order",
        breaks,
    );
    is(one("enum { A }", "enum { A, B u8 }"), "state: variant `B` is new", reads);
    is(one("enum { A, B }", "enum { A }"), "state: variant `B` is gone", breaks);
    is(one("map<u8, u8>", "map<u8, text>"), "state[]: was u8, is text", breaks);
    assert_eq!(told("enum { A, B }", "enum { B, A }").len(), 2);
    // The same shapes, once with a name and once without.
    let (node, unrolled) =
        ("T1 where T1 = { n: option<T1> }", "{ n: option<T1> } where T1 = { n: option<T1> }");
    assert_eq!((told(node, node), told(node, unrolled)), (vec![], vec![]));
    assert_eq!(told(node, "T1 where T1 = { n: option<T1>, m: u8 }").len(), 1);
    let wide = |name: &str| format!("({})", format!("{{ {name}: u8, b: u16 }}, u8,").repeat(60));
    assert_eq!(told(&wide("a"), &wide("c")).len(), 32, "bounded, and the last one says so");
}

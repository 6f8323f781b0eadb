//! A type's format, found by having serde read one value of it.
//!
//! The `Deserializer` here has no bytes: it notes what it is asked for and makes something up. What is
//! seen once is a *type*, named by Rust's name of what its visitor gives, so that two uses of one generic
//! type do not meet. An enum shows one variant each time it is read, so the root is read again until
//! every variant of every enum was seen.
//!
//! A type may hold itself. Where one is met again, an option is `None`, a sequence empty, and an enum its
//! *earliest finished* variant: what that one needed was finished before it, so this comes to an end
//! whatever the order of the variants is. That, and a limit of depth, is why this is not `serde-reflection`:
//! there an enum whose first variant holds the enum ends in a stack overflow, and a generic type that is
//! used twice in an error.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::U32Deserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::finish::finish;
use super::{Format, Shape, Untraced};

/// Values in values: deeper than any type is meant to be, and little enough for a thread's stack.
const DEPTH_MAX: usize = 64;
/// Types one type may consist of.
const TYPES_MAX: usize = 1024;
/// Nodes of a finished format.
pub(super) const NODES_MAX: usize = 4096;
/// Values of a tuple or an array.
pub(super) const TUPLE_MAX: usize = 1 << 16;
/// How often the root is read; each time shows at least one variant.
const PASSES_MAX: usize = 4096;
/// How often a variant is read before it is given up: it fails, or another one below it was too deep.
const ATTEMPTS_MAX: u8 = 4;
/// Characters of a type's name that are kept.
pub(super) const NAME_CHARS_MAX: usize = 256;

/// What is made up for numbers and texts. A type that refuses the first may take another.
const SAMPLES: [Sample; 4] = [
    Sample { number: 0, text: "" },
    Sample { number: 1, text: "" },
    Sample { number: 1, text: "a" },
    Sample { number: 1, text: "1" },
];

#[derive(Clone, Copy)]
struct Sample {
    number: u8,
    text: &'static str,
}

pub(super) fn trace<T: DeserializeOwned>() -> Result<Format, Untraced> {
    let mut first = None;
    for sample in SAMPLES {
        let mut tracer = Tracer::new(sample);
        match tracer.run::<T>().and_then(|root| finish(&tracer, &root)) {
            Ok(format) => return Ok(format),
            Err(error) => first = first.or(Some(error)),
        }
    }
    let why = first.map_or_else(String::new, |Stop(why)| why);
    Err(Untraced { type_name: type_name::<T>(), why })
}

/// A map of anything, for those who keep a map's entries one by one.
pub(super) struct Entries<K, V>(PhantomData<fn() -> (K, V)>);

impl<'de, K: DeserializeOwned, V: DeserializeOwned> Deserialize<'de> for Entries<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One<K, V>(PhantomData<fn() -> (K, V)>);
        impl<'de, K: DeserializeOwned, V: DeserializeOwned> Visitor<'de> for One<K, V> {
            type Value = Entries<K, V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<K, V>()?.is_some() {}
                Ok(Entries(PhantomData))
            }
        }
        deserializer.deserialize_map(One(PhantomData))
    }
}

/// Why a pass ended early.
#[derive(Debug)]
pub(super) struct Stop(pub(super) String);

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(why: T) -> Stop {
        Stop(why.to_string())
    }
}

/// A shape in the making.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    Unknown,
    Leaf(Shape),
    Option(Box<Raw>),
    Seq(Box<Raw>),
    Map(Box<Raw>, Box<Raw>),
    Tuple(Vec<Raw>),
    Type(usize),
}

/// A type that has a name.
#[derive(Debug)]
pub(super) struct Type {
    name: (&'static str, &'static str),
    pub(super) body: Body,
    /// The pass in which it was last gone through.
    pass: usize,
    /// Whether something in it still has variants nobody saw; as of the beginning of the pass.
    unfinished: bool,
}

#[derive(Debug)]
pub(super) enum Body {
    Newtype(Raw),
    Tuple(Vec<Raw>),
    Struct(&'static [&'static str], Vec<Raw>),
    Enum(Enum),
}

#[derive(Debug)]
pub(super) struct Enum {
    pub(super) names: &'static [&'static str],
    pub(super) variants: Vec<Tried>,
    /// Variants in the order in which they were finished.
    finished: Vec<usize>,
}

/// A variant, and what became of reading it.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    pub(super) raws: Raws,
    attempts: u8,
    /// It is being read.
    open: bool,
    finished: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Raws {
    Unknown,
    Unit,
    One(Raw),
    Tuple(Vec<Raw>),
    Struct(&'static [&'static str], Vec<Raw>),
}

pub(super) struct Tracer {
    sample: Sample,
    pub(super) types: Vec<Type>,
    pass: usize,
    /// Whether this pass saw something new.
    news: bool,
}

impl Tracer {
    fn new(sample: Sample) -> Tracer {
        Tracer { sample, types: Vec::new(), pass: 0, news: false }
    }

    /// Reads the root until everything below it was seen.
    fn run<T: DeserializeOwned>(&mut self) -> Result<Raw, Stop> {
        let mut root = Raw::Unknown;
        for _ in 0..PASSES_MAX {
            self.pass += 1;
            self.news = false;
            let mut seen = Raw::Unknown;
            let outcome =
                T::deserialize(One { tracer: self, out: &mut seen, cut: false, depth: 0 });
            merge(&mut root, seen)?;
            self.mark_unfinished();
            match outcome {
                Ok(_) if !self.reaches(&root) => return Ok(root),
                // An enum turned out to have fewer variants than names, or another one was seen.
                _ if self.news => {}
                Ok(_) => return Err(Stop("not every variant of an enum in it can be read".into())),
                Err(why) => return Err(why),
            }
        }
        Err(Stop(format!("its enums have more than {PASSES_MAX} variants")))
    }

    /// Which types still reach an enum with variants nobody saw.
    fn mark_unfinished(&mut self) {
        for at in 0..self.types.len() {
            let unfinished = match &self.types[at].body {
                Body::Enum(e) => e.variants.iter().any(|variant| !variant.finished),
                _ => false,
            };
            self.types[at].unfinished = unfinished;
        }
        loop {
            let mut more = false;
            for at in 0..self.types.len() {
                if !self.types[at].unfinished && self.body_reaches(&self.types[at].body) {
                    self.types[at].unfinished = true;
                    more = true;
                }
            }
            if !more {
                return;
            }
        }
    }

    fn body_reaches(&self, body: &Body) -> bool {
        match body {
            Body::Newtype(raw) => self.reaches(raw),
            Body::Tuple(raws) | Body::Struct(_, raws) => raws.iter().any(|raw| self.reaches(raw)),
            Body::Enum(e) => e.variants.iter().any(|variant| self.variant_reaches(&variant.raws)),
        }
    }

    fn variant_reaches(&self, variant: &Raws) -> bool {
        match variant {
            Raws::Unknown | Raws::Unit => false,
            Raws::One(raw) => self.reaches(raw),
            Raws::Tuple(raws) | Raws::Struct(_, raws) => raws.iter().any(|raw| self.reaches(raw)),
        }
    }

    fn reaches(&self, raw: &Raw) -> bool {
        match raw {
            Raw::Unknown | Raw::Leaf(_) => false,
            Raw::Option(inner) | Raw::Seq(inner) => self.reaches(inner),
            Raw::Map(key, value) => self.reaches(key) || self.reaches(value),
            Raw::Tuple(raws) => raws.iter().any(|raw| self.reaches(raw)),
            Raw::Type(at) => self.types[*at].unfinished,
        }
    }

    /// The type of this name, and whether it is only passed through: it is known, or being read.
    fn enter(
        &mut self,
        name: (&'static str, &'static str),
        body: impl FnOnce() -> Body,
    ) -> Result<(usize, bool), Stop> {
        let pass = self.pass;
        if let Some(at) = self.types.iter().position(|known| known.name == name) {
            let known = &mut self.types[at];
            let cut = !known.unfinished || known.pass == pass;
            known.pass = pass;
            return Ok((at, cut));
        }
        if self.types.len() == TYPES_MAX {
            return Err(Stop(format!("it consists of more than {TYPES_MAX} types")));
        }
        self.types.push(Type { name, body: body(), pass, unfinished: true });
        Ok((self.types.len() - 1, false))
    }

    /// Which variant to read, and whether to look at all of it.
    fn choose(&mut self, at: usize, cut: bool) -> Result<(usize, bool), Stop> {
        let Body::Enum(e) = &self.types[at].body else {
            return Err(Stop("an enum and another type have one name".into()));
        };
        let finished = e.finished.first().copied();
        if !cut || finished.is_none() {
            let next = e.variants.iter().enumerate();
            let next = next.filter(|(_, v)| !v.open && !v.finished && v.attempts < ATTEMPTS_MAX);
            if let Some((variant, _)) = next.min_by_key(|(_, v)| v.attempts) {
                self.news = true;
                return Ok((variant, true));
            }
        }
        let onward = |&variant: &usize| self.variant_reaches(&e.variants[variant].raws);
        let chosen = if cut { None } else { e.finished.iter().copied().find(onward) };
        chosen
            .or(finished)
            .map(|variant| (variant, false))
            .ok_or_else(|| Stop("it holds itself without an end".into()))
    }

    fn variant(&mut self, at: usize, variant: usize) -> Result<&mut Tried, Stop> {
        match &mut self.types[at].body {
            Body::Enum(e) if variant < e.variants.len() => Ok(&mut e.variants[variant]),
            _ => Err(Stop("an enum and another type have one name".into())),
        }
    }
}

/// Adds what was seen to what is known.
fn merge(known: &mut Raw, seen: Raw) -> Result<(), Stop> {
    match (&mut *known, seen) {
        (_, Raw::Unknown) => Ok(()),
        (Raw::Unknown, seen) => {
            *known = seen;
            Ok(())
        }
        (Raw::Option(a), Raw::Option(b)) | (Raw::Seq(a), Raw::Seq(b)) => merge(a, *b),
        (Raw::Map(a, b), Raw::Map(c, d)) => {
            merge(a, *c)?;
            merge(b, *d)
        }
        (Raw::Tuple(a), Raw::Tuple(b)) if a.len() == b.len() => merge_all(a, b),
        (a, b) if *a == b => Ok(()),
        _ => Err(Stop("it reads itself now in one way, now in another".into())),
    }
}

fn merge_all(known: &mut [Raw], seen: Vec<Raw>) -> Result<(), Stop> {
    known.iter_mut().zip(seen).try_for_each(|(known, seen)| merge(known, seen))
}

/// Reads one value.
struct One<'a> {
    tracer: &'a mut Tracer,
    out: &'a mut Raw,
    /// Whether only to come to an end: everything here was seen before.
    cut: bool,
    depth: usize,
}

impl<'a> One<'a> {
    fn leaf(self, shape: Shape) -> Result<&'a mut Tracer, Stop> {
        merge(self.out, Raw::Leaf(shape))?;
        Ok(self.tracer)
    }

    fn deeper(&self) -> Result<usize, Stop> {
        if self.depth == DEPTH_MAX {
            return Err(Stop(format!("its values are nested more than {DEPTH_MAX} deep")));
        }
        Ok(self.depth + 1)
    }
}

macro_rules! leaves {
    ($($method:ident $visit:ident $shape:ident $value:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            let sample = self.leaf(Shape::$shape)?.sample;
            let value: fn(Sample) -> _ = $value;
            visitor.$visit(value(sample))
        }
    )*};
}

impl<'de> Deserializer<'de> for One<'_> {
    type Error = Stop;

    leaves! {
        deserialize_bool visit_bool Bool |_| false;
        deserialize_u8 visit_u8 U8 |s| s.number;
        deserialize_u16 visit_u16 U16 |s| s.number.into();
        deserialize_u32 visit_u32 U32 |s| s.number.into();
        deserialize_u64 visit_u64 U64 |s| s.number.into();
        deserialize_u128 visit_u128 U128 |s| s.number.into();
        deserialize_i8 visit_i8 I8 |s| i8::try_from(s.number).unwrap_or(0);
        deserialize_i16 visit_i16 I16 |s| s.number.into();
        deserialize_i32 visit_i32 I32 |s| s.number.into();
        deserialize_i64 visit_i64 I64 |s| s.number.into();
        deserialize_i128 visit_i128 I128 |s| s.number.into();
        deserialize_f32 visit_f32 F32 |s| s.number.into();
        deserialize_f64 visit_f64 F64 |s| s.number.into();
        deserialize_char visit_char Char |_| 'a';
        deserialize_str visit_borrowed_str Text |s| s.text;
        deserialize_string visit_string Text |s| s.text.to_owned();
        deserialize_bytes visit_borrowed_bytes Bytes |s| s.text.as_bytes();
        deserialize_byte_buf visit_byte_buf Bytes |s| s.text.as_bytes().to_vec();
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.leaf(Shape::Unit)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let depth = self.deeper()?;
        let mut inner = Raw::Unknown;
        let value = if self.cut {
            visitor.visit_none()
        } else {
            visitor.visit_some(One { tracer: self.tracer, out: &mut inner, cut: false, depth })
        };
        merge(self.out, Raw::Option(Box::new(inner)))?;
        value
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let depth = self.deeper()?;
        let mut inner = [Raw::Unknown];
        let slots = if self.cut { &mut inner[..0] } else { &mut inner[..] };
        let value =
            visitor.visit_seq(Each { tracer: self.tracer, slots, at: 0, cut: self.cut, depth });
        let [inner] = inner;
        merge(self.out, Raw::Seq(Box::new(inner)))?;
        value
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let depth = self.deeper()?;
        let mut inner = [Raw::Unknown, Raw::Unknown];
        let slots = if self.cut { &mut inner[..0] } else { &mut inner[..] };
        let value =
            visitor.visit_map(Each { tracer: self.tracer, slots, at: 0, cut: self.cut, depth });
        let [key, of] = inner;
        merge(self.out, Raw::Map(Box::new(key), Box::new(of)))?;
        value
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, n: usize, visitor: V) -> Result<V::Value, Stop> {
        let depth = self.deeper()?;
        let mut inner = slots(n)?;
        let slots = &mut inner[..];
        let value =
            visitor.visit_seq(Each { tracer: self.tracer, slots, at: 0, cut: self.cut, depth });
        merge(self.out, Raw::Tuple(inner))?;
        value
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let depth = self.deeper()?;
        let body = || Body::Newtype(Raw::Unknown);
        let (at, cut) = self.tracer.enter((type_name::<V::Value>(), name), body)?;
        merge(self.out, Raw::Type(at))?;
        let mut inner = Raw::Unknown;
        let reader = One { tracer: &mut *self.tracer, out: &mut inner, cut, depth };
        let value = visitor.visit_newtype_struct(reader);
        match &mut self.tracer.types[at].body {
            Body::Newtype(known) => merge(known, inner)?,
            _ => return Err(Stop(format!("two types are called `{name}`"))),
        }
        value
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        n: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let depth = self.deeper()?;
        let mut inner = slots(n)?;
        let body = || Body::Tuple(inner.clone());
        let (at, cut) = self.tracer.enter((type_name::<V::Value>(), name), body)?;
        merge(self.out, Raw::Type(at))?;
        let slots = &mut inner[..];
        let value = visitor.visit_seq(Each { tracer: &mut *self.tracer, slots, at: 0, cut, depth });
        match &mut self.tracer.types[at].body {
            Body::Tuple(known) if known.len() == n => merge_all(known, inner)?,
            _ => return Err(Stop(format!("two types are called `{name}`"))),
        }
        value
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let depth = self.deeper()?;
        let mut inner = slots(fields.len())?;
        let body = || Body::Struct(fields, inner.clone());
        let (at, cut) = self.tracer.enter((type_name::<V::Value>(), name), body)?;
        merge(self.out, Raw::Type(at))?;
        let slots = &mut inner[..];
        let value = visitor.visit_seq(Each { tracer: &mut *self.tracer, slots, at: 0, cut, depth });
        match &mut self.tracer.types[at].body {
            Body::Struct(names, known) if *names == fields => merge_all(known, inner)?,
            _ => return Err(Stop(format!("two types are called `{name}`"))),
        }
        value
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let depth = self.deeper()?;
        let count = variants.len();
        if count == 0 || count > NODES_MAX {
            return Err(Stop(format!("an enum in it has no variant, or more than {NODES_MAX}")));
        }
        let body = || {
            let none = Tried { raws: Raws::Unknown, attempts: 0, open: false, finished: false };
            let (names, variants) = (variants, vec![none; count]);
            Body::Enum(Enum { names, variants, finished: Vec::new() })
        };
        let (at, cut) = self.tracer.enter((type_name::<V::Value>(), name), body)?;
        merge(self.out, Raw::Type(at))?;
        let (variant, new) = self.tracer.choose(at, cut)?;
        if new {
            let tried = self.tracer.variant(at, variant)?;
            (tried.open, tried.attempts) = (true, tried.attempts + 1);
        }
        let (mut out, mut named) = (Raws::Unknown, false);
        let (cut, tracer) = (cut && !new, &mut *self.tracer);
        let reader = Chosen { tracer, variant, named: &mut named, out: &mut out, cut, depth };
        let value = visitor.visit_enum(reader);
        if new && !named && variant > 0 {
            // There is no variant of this number: aliases are among the names.
            if let Body::Enum(known) = &mut self.tracer.types[at].body {
                known.variants.truncate(variant);
            }
            return value;
        }
        let tried = self.tracer.variant(at, variant)?;
        merge_variant(&mut tried.raws, out)?;
        if new {
            (tried.open, tried.finished) = (false, value.is_ok());
        }
        if let (true, true, Body::Enum(known)) =
            (new, value.is_ok(), &mut self.tracer.types[at].body)
        {
            known.finished.push(variant);
        }
        value
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Stop> {
        Err(Stop("it wants to be told what the bytes are, which postcard cannot say".into()))
    }

    forward_to_deserialize_any! { identifier ignored_any }

    fn is_human_readable(&self) -> bool {
        false
    }
}

fn slots(n: usize) -> Result<Vec<Raw>, Stop> {
    if n > TUPLE_MAX {
        return Err(Stop(format!("a tuple in it has more than {TUPLE_MAX} values")));
    }
    Ok(vec![Raw::Unknown; n])
}

fn merge_variant(known: &mut Raws, seen: Raws) -> Result<(), Stop> {
    match (&mut *known, seen) {
        (_, Raws::Unknown) => Ok(()),
        (Raws::Unknown, seen) => {
            *known = seen;
            Ok(())
        }
        (Raws::Unit, Raws::Unit) => Ok(()),
        (Raws::One(a), Raws::One(b)) => merge(a, b),
        (Raws::Tuple(a), Raws::Tuple(b)) if a.len() == b.len() => merge_all(a, b),
        (Raws::Struct(names, a), Raws::Struct(others, b)) if *names == others => merge_all(a, b),
        _ => Err(Stop("a variant reads itself now in one way, now in another".into())),
    }
}

/// Reads values one after the other.
struct Each<'a> {
    tracer: &'a mut Tracer,
    slots: &'a mut [Raw],
    at: usize,
    cut: bool,
    depth: usize,
}

impl Each<'_> {
    fn next<'de, T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        let Some(out) = self.slots.get_mut(self.at) else { return Ok(None) };
        self.at += 1;
        let (tracer, cut, depth) = (&mut *self.tracer, self.cut, self.depth);
        seed.deserialize(One { tracer, out, cut, depth }).map(Some)
    }
}

impl<'de> SeqAccess<'de> for Each<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stop> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.slots.len() - self.at)
    }
}

impl<'de> MapAccess<'de> for Each<'_> {
    type Error = Stop;

    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stop> {
        self.next(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stop> {
        self.next(seed)?.ok_or_else(|| Stop("it asks a map for a value without its key".into()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some((self.slots.len() - self.at) / 2)
    }
}

/// Reads the chosen variant of an enum.
struct Chosen<'a> {
    tracer: &'a mut Tracer,
    variant: usize,
    /// Whether the enum knows this number.
    named: &'a mut bool,
    out: &'a mut Raws,
    cut: bool,
    depth: usize,
}

impl<'de> EnumAccess<'de> for Chosen<'_> {
    type Error = Stop;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Stop> {
        let number = u32::try_from(self.variant).map_err(de::Error::custom)?;
        let number: U32Deserializer<Stop> = number.into_deserializer();
        let value = seed.deserialize(number)?;
        *self.named = true;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Chosen<'_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        *self.out = Raws::Unit;
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stop> {
        let mut inner = Raw::Unknown;
        let (tracer, out) = (self.tracer, &mut inner);
        let value = seed.deserialize(One { tracer, out, cut: self.cut, depth: self.depth });
        *self.out = Raws::One(inner);
        value
    }

    fn tuple_variant<V: Visitor<'de>>(self, n: usize, visitor: V) -> Result<V::Value, Stop> {
        let mut inner = slots(n)?;
        let (tracer, cut, depth) = (self.tracer, self.cut, self.depth);
        let value = visitor.visit_seq(Each { tracer, slots: &mut inner, at: 0, cut, depth });
        *self.out = Raws::Tuple(inner);
        value
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let mut inner = slots(fields.len())?;
        let (tracer, cut, depth) = (self.tracer, self.cut, self.depth);
        let value = visitor.visit_seq(Each { tracer, slots: &mut inner, at: 0, cut, depth });
        *self.out = Raws::Struct(fields, inner);
        value
    }
}

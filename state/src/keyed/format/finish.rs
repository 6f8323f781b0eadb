//! What was traced, as a format: types lose their names, and those that stand in one place only are
//! written where they stand.

use super::trace::{Body, NODES_MAX, Raw, Raws, Stop, Tracer};
use super::{ARRAY_MIN, Field, Format, Shape, Variant};

/// Puts a format together.
struct Finish<'a> {
    tracer: &'a Tracer,
    /// Types that are written where they stand, however often: newtypes, save one that is nothing but
    /// itself again.
    transparent: Vec<bool>,
    /// For each other type, in how many places it stands: from two on it is a definition.
    uses: Vec<u32>,
    /// For each type that is a definition and was met, its number.
    numbers: Vec<Option<u32>>,
    /// The definitions, in the order in which they were met.
    definitions: Vec<Shape>,
    nodes: usize,
}

pub(super) fn finish(tracer: &Tracer, root: &Raw) -> Result<Format, Stop> {
    let types = tracer.types.len();
    let mut finish = Finish {
        tracer,
        transparent: (0..types).map(|at| is_transparent(tracer, at)).collect(),
        uses: vec![0; types],
        numbers: vec![None; types],
        definitions: Vec::new(),
        nodes: 0,
    };
    finish.count(root)?;
    finish.nodes = 0;
    let shape = finish.shape(root)?;
    Ok(Format { shape, definitions: finish.definitions })
}

/// Whether a type is a newtype that does not come back to itself through newtypes alone.
fn is_transparent(tracer: &Tracer, at: usize) -> bool {
    let mut seen = vec![false; tracer.types.len()];
    let mut next = vec![at];
    while let Some(one) = next.pop() {
        let Body::Newtype(raw) = &tracer.types[one].body else {
            if one == at {
                return false;
            }
            continue;
        };
        let mut below = Vec::new();
        types_in(raw, &mut below);
        if below.contains(&at) {
            return false;
        }
        for one in below {
            if !std::mem::replace(&mut seen[one], true) {
                next.push(one);
            }
        }
    }
    true
}

fn types_in(raw: &Raw, into: &mut Vec<usize>) {
    match raw {
        Raw::Unknown | Raw::Leaf(_) => {}
        Raw::Option(inner) | Raw::Seq(inner) => types_in(inner, into),
        Raw::Map(key, value) => {
            types_in(key, into);
            types_in(value, into);
        }
        Raw::Tuple(raws) => raws.iter().for_each(|raw| types_in(raw, into)),
        Raw::Type(at) => into.push(*at),
    }
}

impl Finish<'_> {
    /// Keeps the whole bounded: newtypes of tuples of newtypes double with each step.
    fn node(&mut self) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Stop(format!("its format has more than {NODES_MAX} nodes")));
        }
        Ok(())
    }

    /// Counts in how many places each type stands.
    fn count(&mut self, raw: &Raw) -> Result<(), Stop> {
        self.node()?;
        match raw {
            Raw::Unknown | Raw::Leaf(_) => Ok(()),
            Raw::Option(inner) | Raw::Seq(inner) => self.count(inner),
            Raw::Map(key, value) => {
                self.count(key)?;
                self.count(value)
            }
            Raw::Tuple(raws) => self.count_all(raws),
            Raw::Type(at) => {
                self.uses[*at] += 1;
                if self.uses[*at] > 1 && !self.transparent[*at] {
                    return Ok(());
                }
                let tracer = self.tracer;
                match &tracer.types[*at].body {
                    Body::Newtype(raw) => self.count(raw),
                    Body::Tuple(raws) | Body::Struct(_, raws) => self.count_all(raws),
                    Body::Enum(e) => {
                        e.variants.iter().try_for_each(|variant| match &variant.raws {
                            Raws::Unknown | Raws::Unit => Ok(()),
                            Raws::One(raw) => self.count(raw),
                            Raws::Tuple(raws) | Raws::Struct(_, raws) => self.count_all(raws),
                        })
                    }
                }
            }
        }
    }

    fn count_all(&mut self, raws: &[Raw]) -> Result<(), Stop> {
        if is_array(raws) {
            self.count(&raws[0])
        } else {
            raws.iter().try_for_each(|raw| self.count(raw))
        }
    }

    fn shape(&mut self, raw: &Raw) -> Result<Shape, Stop> {
        self.node()?;
        Ok(match raw {
            Raw::Unknown => return Err(Stop("a part of it was never read".into())),
            Raw::Leaf(shape) => shape.clone(),
            Raw::Option(inner) => Shape::Option(Box::new(self.shape(inner)?)),
            Raw::Seq(inner) => Shape::Seq(Box::new(self.shape(inner)?)),
            Raw::Map(key, value) => {
                let key = Box::new(self.shape(key)?);
                Shape::Map(key, Box::new(self.shape(value)?))
            }
            Raw::Tuple(raws) => self.tuple(raws)?,
            Raw::Type(at) if self.transparent[*at] || self.uses[*at] < 2 => self.body(*at)?,
            Raw::Type(at) => {
                if let Some(number) = self.numbers[*at] {
                    return Ok(Shape::Defined(number));
                }
                let place = self.definitions.len();
                let number = u32::try_from(place).map_err(|_| Stop("too many types".into()))?;
                self.numbers[*at] = Some(number);
                self.definitions.push(Shape::Unit);
                let body = self.body(*at)?;
                self.definitions[place] = body;
                Shape::Defined(number)
            }
        })
    }

    fn body(&mut self, at: usize) -> Result<Shape, Stop> {
        let tracer = self.tracer;
        match &tracer.types[at].body {
            Body::Newtype(raw) => self.shape(raw),
            Body::Tuple(raws) => self.tuple(raws),
            Body::Struct(names, raws) => self.fields(names, raws),
            Body::Enum(e) => {
                // Aliases among the names: which name is whose is not known.
                let sure = e.names.len() == e.variants.len();
                let named = e.variants.iter().enumerate().map(|(number, variant)| {
                    let name = if sure { e.names[number].to_owned() } else { format!("{number}") };
                    let shape = match &variant.raws {
                        Raws::Unknown | Raws::Unit => Shape::Unit,
                        Raws::One(raw) => self.shape(raw)?,
                        Raws::Tuple(raws) => self.tuple(raws)?,
                        Raws::Struct(names, raws) => self.fields(names, raws)?,
                    };
                    Ok(Variant { name, shape })
                });
                Ok(Shape::Enum(named.collect::<Result<_, _>>()?))
            }
        }
    }

    fn fields(&mut self, names: &[&str], raws: &[Raw]) -> Result<Shape, Stop> {
        // serde counts aliases as names, and asks for fewer values then.
        let there = raws.iter().rposition(|raw| *raw != Raw::Unknown).map_or(0, |last| last + 1);
        let sure = there == names.len();
        let fields = raws[..there].iter().enumerate().map(|(number, raw)| {
            let name = if sure { names[number].to_owned() } else { format!("{number}") };
            Ok(Field { name, shape: self.shape(raw)? })
        });
        Ok(Shape::Struct(fields.collect::<Result<_, _>>()?))
    }

    fn tuple(&mut self, raws: &[Raw]) -> Result<Shape, Stop> {
        if is_array(raws) {
            let n = u32::try_from(raws.len()).map_err(|_| Stop("a tuple is too long".into()))?;
            return Ok(Shape::Array(Box::new(self.shape(&raws[0])?), n));
        }
        let shapes: Result<_, _> = raws.iter().map(|raw| self.shape(raw)).collect();
        Ok(Shape::sequence(shapes?))
    }
}

fn is_array(raws: &[Raw]) -> bool {
    raws.len() >= ARRAY_MIN && raws.windows(2).all(|two| two[0] == two[1])
}

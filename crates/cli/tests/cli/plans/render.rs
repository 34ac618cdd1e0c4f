//! Several dry runs of one model as a text that a person can review.

use std::{collections::BTreeMap, fmt::Write};

use longshore_manifest::Digest;
use serde::Deserialize;

/// Answer of a dry run.
pub(super) enum Document {
    /// The document, and what stderr said.
    Plan { text: String, notes: String },
    /// An error.
    Refused { notes: String },
}

/// The members that a row shows. The digests stand for the others.
#[derive(Deserialize)]
struct Plan {
    kind: String,
    architecture: Option<String>,
    quantize: Option<String>,
    policy: String,
    blobs: Vec<Blob>,
    files: Vec<File>,
    source_bytes: u64,
    stored_bytes: u64,
}

#[derive(Deserialize)]
struct Blob {
    name: String,
    #[serde(default)]
    component: Option<String>,
    tensors: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    scheme: Option<String>,
    transform: String,
    sources: Vec<String>,
    reason: String,
}

#[derive(Deserialize)]
struct File {
    name: String,
    size: u64,
}

/// A tensor in one plan.
struct Cell<'p> {
    blob: &'p Blob,
    tensor: &'p Tensor,
}

/// The tensor's name, after its component's.
type Key<'p> = (Option<&'p str>, &'p str);

/// Letters for reasons, in the order in which they are first met.
#[derive(Default)]
struct Reasons<'p> {
    letters: BTreeMap<&'p str, usize>,
    order: Vec<&'p str>,
}

impl<'p> Reasons<'p> {
    fn letter(&mut self, reason: &'p str) -> char {
        let at = *self.letters.entry(reason).or_insert_with(|| {
            self.order.push(reason);
            self.order.len() - 1
        });
        char::from(b'a' + u8::try_from(at).expect("there are few reasons"))
    }
}

/// The documents of one model under one policy, each with what was asked for.
pub(super) fn render(documents: &[(&str, Document)]) -> String {
    let plans: Vec<(&str, Plan)> = documents
        .iter()
        .filter_map(|(request, document)| match document {
            Document::Plan { text, .. } => Some((*request, serde_json::from_str(text).unwrap())),
            Document::Refused { .. } => None,
        })
        .collect();
    let mut text = String::new();
    if let Some((_, plan)) = plans.first() {
        head(&mut text, plan);
        table(&mut text, &plans);
        totals(&mut text, documents, &plans);
    }
    notes(&mut text, documents);
    text
}

/// The common part of the plans.
fn head(text: &mut String, plan: &Plan) {
    let Plan { kind, policy, architecture, files, source_bytes, .. } = plan;
    let architecture = architecture.as_deref().unwrap_or("no architecture");
    let files: Vec<_> = files.iter().map(|file| format!("{} ({})", file.name, file.size)).collect();
    writeln!(text, "{architecture}, {kind}, policy {policy}, {source_bytes} bytes of tensors").unwrap();
    writeln!(text, "files: {}\n", files.join(", ")).unwrap();
}

/// A row for each tensor, a column for each request: the scheme, `+` where the blob has other tensors too, and the reason's letter.
fn table(text: &mut String, plans: &[(&str, Plan)]) {
    let mut reasons = Reasons::default();
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut header: Vec<_> = ["TENSOR", "DTYPE", "SHAPE"].map(str::to_owned).into();
    header.extend(plans.iter().map(|(request, _)| (*request).to_owned()));
    header.extend(["TRANSFORM", "SOURCES"].map(str::to_owned));
    rows.push(header);
    let cells: Vec<BTreeMap<Key<'_>, Cell<'_>>> = plans.iter().map(|(_, plan)| cells(plan)).collect();
    for (key, first) in &cells[0] {
        let all: Vec<_> = cells.iter().map(|cells| &cells[key]).collect();
        let Tensor { dtype, shape, sources, .. } = first.tensor;
        let same = |cell: &&&Cell<'_>| {
            (&cell.tensor.dtype, &cell.tensor.shape, &cell.tensor.sources) == (dtype, shape, sources)
        };
        assert!(all.iter().all(|cell| same(&cell)), "{key:?} differs between requests");
        let name = key.0.map_or_else(|| key.1.to_owned(), |component| format!("{component}/{}", key.1));
        let mut row = vec![name, dtype.clone(), format!("{shape:?}")];
        row.extend(all.iter().map(|cell| {
            let scheme = cell.tensor.scheme.as_deref().unwrap_or("-");
            let shared = if cell.blob.tensors.len() > 1 { "+" } else { "" };
            format!("{scheme}{shared} {}", reasons.letter(&cell.tensor.reason))
        }));
        let mut transforms: Vec<_> = all.iter().map(|cell| cell.tensor.transform.as_str()).collect();
        transforms.dedup();
        row.push(transforms.join(", "));
        row.push(match &**sources {
            [one] if one == key.1 => String::new(),
            [one] => one.clone(),
            [first, .., last] => format!("{}: {first} … {last}", sources.len()),
            [] => panic!("{key:?} is made of nothing"),
        });
        rows.push(row);
    }
    let widths: Vec<_> =
        (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap()).collect();
    for row in &rows {
        let mut line = String::new();
        for (value, width) in row.iter().zip(&widths) {
            write!(line, "{value:width$}  ").unwrap();
        }
        writeln!(text, "{}", line.trim_end()).unwrap();
    }
    text.push('\n');
    for reason in reasons.order.clone() {
        writeln!(text, "{}  {reason}", reasons.letter(reason)).unwrap();
    }
    text.push('\n');
}

fn cells(plan: &Plan) -> BTreeMap<Key<'_>, Cell<'_>> {
    let mut cells = BTreeMap::new();
    for blob in &plan.blobs {
        for tensor in &blob.tensors {
            let in_name = |prefix: &str| tensor.name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
            let own = blob.component.as_deref().map_or(&*blob.name, |component| {
                blob.name.strip_prefix(component).and_then(|name| name.strip_prefix('/')).unwrap()
            });
            assert!(if blob.tensors.len() > 1 { in_name(own) } else { own == tensor.name || in_name(own) }, "{own}");
            let before = cells.insert((blob.component.as_deref(), &*tensor.name), Cell { blob, tensor });
            assert!(before.is_none(), "{} is there twice", tensor.name);
        }
    }
    cells
}

/// A line for each request: what it comes to, and the digest of its whole document.
fn totals(text: &mut String, documents: &[(&str, Document)], plans: &[(&str, Plan)]) {
    for (request, plan) in plans {
        let found = documents.iter().find(|(name, _)| name == request);
        let Some((_, Document::Plan { text: document, .. })) = found else { continue };
        assert_eq!(
            plan.quantize.as_deref().map(|asked| asked.split('-').next().unwrap()),
            (*request != "none").then_some(*request)
        );
        let (bytes, blobs) = (plan.stored_bytes, plan.blobs.len());
        writeln!(text, "{request:5}  {bytes:8} bytes in {blobs:3} blobs  {}", Digest::of(document.as_bytes())).unwrap();
    }
}

/// Accompanying messages, and refused requests.
fn notes(text: &mut String, documents: &[(&str, Document)]) {
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    for (request, document) in documents {
        let (Document::Plan { notes, .. } | Document::Refused { notes }) = document;
        if notes.is_empty() {
            continue;
        }
        match said.iter_mut().find(|(known, _)| known == notes) {
            Some((_, requests)) => requests.push(request),
            None => said.push((notes, vec![request])),
        }
    }
    for (notes, requests) in said {
        write!(text, "\n{}:\n{notes}", requests.join(", ")).unwrap();
    }
}

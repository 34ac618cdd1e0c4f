//! Rotations of a residual stream, in f64.

use longshore_transform::rotation::Rotation;

/// Numbers from −1 to 1.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 32).expect("32 bits")) / f64::from(1_u32 << 31) - 1.0
    }

    fn row(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| self.next()).collect()
    }

    fn rows(&mut self, count: usize, len: usize) -> Vec<Vec<f64>> {
        (0..count).map(|_| self.row(len)).collect()
    }
}

/// A block of a model: an embedding, a norm before a layer that reads the stream and one that writes to it, a last norm and a head.
struct Toy {
    embedding: Vec<f64>,
    gains: [Vec<f64>; 2],
    /// `[width, size]`.
    reader: Vec<Vec<f64>>,
    /// `[width, size]`: the columns of a weight `[size, width]`.
    writer: Vec<Vec<f64>>,
    bias: Vec<f64>,
    head: Vec<Vec<f64>>,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[expect(clippy::cast_precision_loss, reason = "sizes are small")]
fn normed(stream: &[f64], gains: &[f64]) -> Vec<f64> {
    let scale = (dot(stream, stream) / stream.len() as f64 + 1e-6).sqrt().recip();
    stream.iter().zip(gains).map(|(value, gain)| value * scale * gain).collect()
}

impl Toy {
    fn new(size: usize) -> Self {
        let mut numbers = Numbers(size as u64);
        let mut embedding = numbers.row(size);
        // Channels that are larger than others, as real streams have them.
        embedding[..3].iter_mut().for_each(|value| *value *= 30.0);
        let gains = [0, 1].map(|_| numbers.row(size).into_iter().map(|gain| 1.6 + 1.4 * gain).collect());
        let [reader, writer, head] = [8, 8, 5].map(|count| numbers.rows(count, size));
        Self { embedding, gains, reader, writer, bias: numbers.row(size), head }
    }

    fn logits(&self) -> Vec<f64> {
        let mut stream = self.embedding.clone();
        let read = normed(&stream, &self.gains[0]);
        for (reader, writer) in self.reader.iter().zip(&self.writer) {
            let value = dot(&read, reader).tanh();
            stream.iter_mut().zip(writer).for_each(|(sum, writer)| *sum += value * writer);
        }
        stream.iter_mut().zip(&self.bias).for_each(|(sum, bias)| *sum += bias);
        let last = normed(&stream, &self.gains[1]);
        self.head.iter().map(|head| dot(&last, head)).collect()
    }

    /// Folds the gains and rotates the stream. Columns of writers are rows here.
    fn rotate(&mut self, rotation: &Rotation, writes: bool) {
        let mut spare = Vec::new();
        let [first, last] = &mut self.gains;
        for (rows, gains) in [(&mut self.reader, first), (&mut self.head, last)] {
            for row in rows {
                row.iter_mut().zip(&*gains).for_each(|(value, gain)| *value *= gain);
                rotation.apply(row, &mut spare);
            }
            gains.fill(1.0);
        }
        rotation.apply(&mut self.embedding, &mut spare);
        if writes {
            self.writer.iter_mut().chain([&mut self.bias]).for_each(|row| rotation.apply(row, &mut spare));
        }
    }
}

#[test]
fn a_rotated_model_computes_the_same() {
    for size in [64, 96, 896, 2880, 3072, 5120] {
        let rotation = Rotation::new(size, 11).expect("the size is known");
        let expected = Toy::new(size).logits();
        let most = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        let distance = |writes| {
            let mut toy = Toy::new(size);
            toy.rotate(&rotation, writes);
            toy.logits().iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / most
        };
        assert!(distance(true) <= 1e-10, "{size}: {:e}", distance(true));
        assert!(distance(false) > 1e-2, "{size}: a stream that is not rotated is seen");
    }
}

/// Error of four bits in groups of 64 from the least to the largest value, relative to the values.
fn loss(rows: &[Vec<f64>]) -> f64 {
    let (mut errors, mut all) = (0.0, 0.0);
    for group in rows.iter().flat_map(|row| row.chunks(64)) {
        let [low, high] =
            [f64::min, f64::max].map(|pick: fn(f64, f64) -> f64| group.iter().copied().fold(group[0], pick));
        let step = (high - low) / 15.0;
        errors += group.iter().map(|value| (((value - low) / step).round() * step + low - value).powi(2)).sum::<f64>();
        all += dot(group, group);
    }
    (errors / all).sqrt()
}

#[test]
fn outliers_cost_less_once_they_are_spread() {
    let size = 3072;
    let mut numbers = Numbers(3);
    let mut rows = numbers.rows(64, size);
    for row in &mut rows {
        // One column of a hundred is twenty times as large.
        for value in row.iter_mut().step_by(100) {
            *value *= 20.0;
        }
    }
    let (before, mut spare) = (loss(&rows), Vec::new());
    let rotation = Rotation::new(size, 5).expect("the size is known");
    for row in &mut rows {
        rotation.apply(row, &mut spare);
    }
    assert!(loss(&rows) * 1.5 <= before, "{} {before}", loss(&rows));
}

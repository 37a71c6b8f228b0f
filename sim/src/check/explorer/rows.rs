//! States that wait to be explored: rows of small numbers, each column as wide as its largest number needs.

use std::io::{self, Read, Write};

use super::bytes::{read_number, unsound, write_number};

/// So many rows are explored by one thread in one go.
pub const ROWS: usize = 512;

/// Rows with the same columns.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// How many bytes each column takes: 0, 1, 2 or 4.
    widths: Vec<u8>,
    stride: usize,
    /// The rows, and a few bytes more: each number is read and written as four bytes, whatever its width.
    bytes: Vec<u8>,
    len: usize,
}

/// How many bytes follow the last row.
const SPARE: usize = size_of::<u32>();

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds a row.
    pub fn push(&mut self, row: &[u32]) {
        if self.widths.len() != row.len() {
            self.widths.resize(row.len(), 0);
        }
        let too_wide =
            row.iter().zip(&self.widths).fold(0, |bits, (value, &width)| bits | value & !mask(width));
        if too_wide != 0 {
            let mut widths = self.widths.clone();
            for (width, &value) in widths.iter_mut().zip(row) {
                *width = width_of(value).max(*width);
            }
            self.widen(widths);
        }
        let mut at = self.len * self.stride;
        self.len += 1;
        self.bytes.resize(self.len * self.stride + SPARE, 0);
        for (value, &width) in row.iter().zip(&self.widths) {
            self.bytes[at..at + SPARE].copy_from_slice(&value.to_le_bytes());
            at += usize::from(width);
        }
    }

    /// Reads a row.
    pub fn get(&self, number: usize, row: &mut Vec<u32>) {
        row.clear();
        let mut at = number * self.stride;
        row.extend(self.widths.iter().map(|&width| {
            let value = self.number_at(at) & mask(width);
            at += usize::from(width);
            value
        }));
    }

    fn number_at(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + SPARE].try_into().expect("they are four bytes"))
    }

    /// The last number of a row.
    pub fn last(&self, number: usize) -> u32 {
        let width = self.widths.last().copied().unwrap_or_default();
        self.number_at((number + 1) * self.stride - usize::from(width)) & mask(width)
    }

    /// Writes them as they are.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write_number(out, self.widths.len() as u64)?;
        out.write_all(&self.widths)?;
        write_number(out, self.len as u64)?;
        out.write_all(&self.bytes[..self.len * self.stride])
    }

    /// Reads what was written.
    pub fn read(input: &mut impl Read) -> io::Result<Self> {
        let take = |input: &mut dyn Read, len: u64| {
            let mut bytes = Vec::new();
            input.take(len).read_to_end(&mut bytes)?;
            if bytes.len() as u64 == len { Ok(bytes) } else { Err(unsound("it ends too early")) }
        };
        let columns = read_number(input)?;
        let widths = take(input, columns)?;
        if widths.iter().any(|width| ![0, 1, 2, 4].contains(width)) {
            return Err(unsound("a column has no width"));
        }
        let stride = widths.iter().map(|&width| usize::from(width)).sum();
        let len = usize::try_from(read_number(input)?).ok().filter(|&len| len <= ROWS);
        let len = len.ok_or_else(|| unsound("too many rows in one piece"))?;
        let mut bytes = take(input, (len * stride) as u64)?;
        bytes.resize(len * stride + SPARE, 0);
        Ok(Self { widths, stride, bytes, len })
    }

    /// Adds all of another's rows behind these.
    pub fn append(&mut self, other: &Self) {
        if self.widths == other.widths {
            self.bytes.truncate(self.len * self.stride);
            self.bytes.extend_from_slice(&other.bytes);
            self.len += other.len;
            return;
        }
        let mut row = Vec::new();
        for number in 0..other.len {
            other.get(number, &mut row);
            self.push(&row);
        }
    }

    /// Gives back memory that is not used.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    fn widen(&mut self, widths: Vec<u8>) {
        let stride = widths.iter().map(|&width| usize::from(width)).sum();
        let mut wider = Self { widths, stride, bytes: Vec::with_capacity(self.len * stride + SPARE), len: 0 };
        let mut row = Vec::new();
        for number in 0..self.len {
            self.get(number, &mut row);
            wider.push(&row);
        }
        *self = wider;
    }
}

/// The bits that so many bytes hold.
fn mask(width: u8) -> u32 {
    match width {
        0 => 0,
        1 => 0xff,
        2 => 0xffff,
        _ => u32::MAX,
    }
}

fn width_of(value: u32) -> u8 {
    match value {
        0 => 0,
        1..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_whatever_came_after_them() {
        let row = |i: u32| [i, 0, i * 1_000, 7, i % 2];
        let (mut rows, mut others) = (Rows::default(), Rows::default());
        for i in 0..100 {
            rows.push(&row(i));
            others.push(&row(i + 100));
        }
        rows.append(&others);
        assert_eq!(rows.len(), 200);
        let mut read = Vec::new();
        for i in 0..200 {
            rows.get(i, &mut read);
            assert_eq!(read, row(i as u32));
            assert_eq!(rows.last(i), i as u32 % 2);
        }
    }
}

//! The journal's layout: what is encoded decodes, and what was damaged is told.

use proptest::prelude::*;

use super::*;

fn arb_record() -> impl Strategy<Value = Record> {
    let ids = (any::<u64>(), any::<u64>(), any::<u64>());
    (0..7u8, ids, any::<Option<u64>>(), any::<u32>(), any::<bool>(), any::<Vec<u8>>()).prop_map(
        |(kind, (ledger, entry, term), lac, crc, transactional, payload)| {
            let (ledger, entry, term) = (LedgerId(ledger), EntryId(entry), Term(term));
            match kind {
                0 => Record::Add {
                    ledger,
                    entry,
                    term,
                    lac: lac.map(EntryId),
                    crc,
                    payload: payload.into(),
                },
                1 => Record::Fence { ledger, term },
                2 => Record::ExplicitLac { ledger, term, lac: entry },
                3 => Record::Create { ledger, term, transactional, replicated: crc % 2 == 1 },
                4 => Record::ClearLimbo { ledger, term },
                5 => Record::LimboBound { below: ledger },
                _ => Record::Delete { ledger },
            }
        },
    )
}

proptest! {
    #[test]
    fn a_record_comes_back(records in proptest::collection::vec(arb_record(), 0..8)) {
        let mut body = vec![0; records.iter().map(Record::len).sum()];
        let mut at = 0;
        for record in &records {
            at += record.encode(&mut body[at..]);
        }
        prop_assert_eq!(at, body.len());
        let mut r = Reader::new(&body);
        for record in &records {
            prop_assert_eq!(&Record::decode(&mut r).unwrap(), record);
        }
        r.end("body").unwrap();
    }

    #[test]
    fn a_batch_header_comes_back(
        flags: u16, records: u16, salt: u64, lsn: u64, body_len: u32, body_crc: u32,
        prev_batch_crc: u32, durable_lsn: u64,
    ) {
        let header = BatchHeader {
            flags, records, salt, lsn, body_len, body_crc, prev_batch_crc, durable_lsn,
        };
        let mut out = [0xAA; BATCH_HEAD];
        let crc = header.encode(&mut out);
        prop_assert_eq!(BatchHeader::decode(&out).unwrap(), (header, crc));
    }

    #[test]
    fn a_file_header_comes_back(incarnation: u128, seq: u64, lsn: u64, bytes: u64) {
        let header = FileHeader::new(Incarnation(incarnation), seq, lsn, bytes);
        let (block, crc) = header.encode();
        prop_assert_eq!(block.len(), BLOCK);
        prop_assert_eq!(FileHeader::decode(&block).unwrap(), (header, crc));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = FileHeader::decode(&bytes);
        let _ = BatchHeader::decode(&bytes);
        let _ = Record::decode(&mut Reader::new(&bytes));
    }
}

#[test]
fn every_flipped_bit_of_a_header_is_noticed() {
    let mut batch = [0; BATCH_HEAD];
    let header = BatchHeader {
        flags: 0,
        records: 3,
        salt: 7,
        lsn: 9,
        body_len: 100,
        body_crc: 5,
        prev_batch_crc: 6,
        durable_lsn: 8,
    };
    header.encode(&mut batch);
    for bit in 0..BATCH_HEAD * 8 {
        batch[bit / 8] ^= 1 << (bit % 8);
        assert!(BatchHeader::decode(&batch).is_err(), "bit {bit}");
        batch[bit / 8] ^= 1 << (bit % 8);
    }
    let (mut block, _) = FileHeader::new(Incarnation(1), 2, 3, 4096).encode();
    for bit in 0..(FILE_HEAD + 4) * 8 {
        block[bit / 8] ^= 1 << (bit % 8);
        assert!(FileHeader::decode(&block).is_err(), "bit {bit}");
        block[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_salt_is_never_shared_by_two_files() {
    let salt = |i, s| FileHeader::new(Incarnation(i), s, 1, 4096).salt;
    assert_ne!(salt(1, 1), salt(1, 2));
    assert_ne!(salt(1, 1), salt(2, 1));
}

#[test]
fn golden_record() {
    let record = Record::Add {
        ledger: LedgerId(0x0102),
        entry: EntryId(3),
        term: Term(4),
        lac: Some(EntryId(2)),
        crc: 0xDEAD_BEEF,
        payload: Bytes::from_static(b"hi"),
    };
    let mut out = vec![0xFF; record.len()];
    record.encode(&mut out);
    #[rustfmt::skip]
    let golden = [
        1, 1, 0, 0, 2, 0, 0, 0,
        2, 1, 0, 0, 0, 0, 0, 0,
        3, 0, 0, 0, 0, 0, 0, 0,
        4, 0, 0, 0, 0, 0, 0, 0,
        0xEF, 0xBE, 0xAD, 0xDE,
        2, 0, 0, 0, 0, 0, 0, 0,
        b'h', b'i',
    ];
    assert_eq!(out, golden);
}

#[test]
fn golden_batch_header() {
    let header = BatchHeader {
        flags: FLAG_END,
        records: 2,
        salt: 3,
        lsn: 4,
        body_len: 5,
        body_crc: 6,
        prev_batch_crc: 7,
        durable_lsn: 8,
    };
    let mut out = [0; BATCH_HEAD];
    let crc = header.encode(&mut out);
    #[rustfmt::skip]
    let tail = [
        6, 0, 0, 0, 1, 0, 2, 0,
        3, 0, 0, 0, 0, 0, 0, 0,
        4, 0, 0, 0, 0, 0, 0, 0,
        5, 0, 0, 0, 7, 0, 0, 0,
        8, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(out[..4], *b"EGJB");
    assert_eq!(out[4..8], crc.to_le_bytes());
    assert_eq!(out[8..], tail);
    assert_eq!(crc, crc32c::crc32c(&tail));
}

#[test]
fn golden_file_header() {
    let (block, crc) = FileHeader::new(Incarnation(0x11), 2, 3, 0x4000).encode();
    assert_eq!(block[..4], *b"EGJF");
    assert_eq!(block[4..8], [2, 0, 0, 0]);
    assert_eq!(block[8], 0x11);
    assert_eq!(block[24], 2);
    assert_eq!(block[40], 3);
    assert_eq!(block[48..56], 0x4000_u64.to_le_bytes());
    assert_eq!(block[56..60], crc.to_le_bytes());
    assert!(block[60..].iter().all(|b| *b == 0));
}

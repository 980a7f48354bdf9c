//! Every form against independent implementations, and against the order of the numbers.

use proptest::prelude::*;

use super::*;

const EPOCH_MS: u64 = 1_735_689_600_000;

/// By the default layout.
fn scheme() -> IdScheme {
    IdScheme::new("snowtide-dev", EPOCH_MS, 41)
}

fn ids() -> impl Strategy<Value = u64> {
    prop_oneof![0..=u64::MAX >> 1, 0..=1_u64 << 40, (u64::MAX >> 1) - 1_000..=u64::MAX >> 1]
}

/// Any split, and any epoch that leaves its time within 48 bits.
fn schemes() -> impl Strategy<Value = IdScheme> {
    ("[a-z]{1,9}", 38..=47_u8, 0..=EPOCH_MS).prop_map(|(cluster, time, epoch)| IdScheme::new(&cluster, epoch, time))
}

fn text(scheme: IdScheme, id: u64, format: Format) -> String {
    scheme.write(id, format).unwrap().to_string()
}

#[test]
fn the_documented_bits_are_the_bits() {
    let scheme = scheme();
    let (time, region, node, sequence) = (34_567_890_123_u64, 0b10101_u64, 0b01100, 0b1011_0110_1101);
    let id = time << 22 | region << 17 | node << 12 | sequence;
    let uuid = scheme.uuid7(id).unwrap();
    let bits = format!("{uuid:0128b}");
    assert_eq!(u64::from_str_radix(&bits[..48], 2).unwrap(), EPOCH_MS + time);
    assert_eq!(&bits[48..52], "0111");
    assert_eq!(&bits[52..64], "101010110010");
    assert_eq!(&bits[64..66], "10");
    assert_eq!(&bits[66..76], "1101101101");
    let seal = xxhash_rust::xxh3::xxh3_128_with_seed(&id.to_be_bytes(), xxhash_rust::xxh3::xxh3_64(b"snowtide-dev"));
    assert_eq!(uuid & ((1 << 52) - 1), seal & ((1 << 52) - 1));
    let ulid = scheme.ulid(id).unwrap();
    let bits = format!("{ulid:0128b}");
    assert_eq!(u64::from_str_radix(&bits[..48], 2).unwrap(), EPOCH_MS + time);
    assert_eq!(&bits[48..70], "1010101100101101101101");
    assert_eq!(ulid & ((1 << 58) - 1), seal & ((1 << 58) - 1));
}

#[test]
fn what_is_written_never_changes() {
    let id = 264_905_529_122_127_872;
    let expected = [
        "264905529122127872",
        "07B925KD5S000",
        "0JZGkOS9B3Y",
        "01a2d3b2-2f69-7720-8003-3bb8068efd2e",
        "01MB9V4BV9E8005MSVQ038XZ9E",
    ];
    assert_eq!(Format::ALL.map(|format| text(scheme(), id, format)), expected);
}

#[test]
fn the_widths_are_those_that_are_told() {
    for id in [0, 1, 264_905_529_122_127_872, u64::MAX >> 1] {
        for format in Format::ALL {
            let written = text(scheme(), id, format);
            assert!(format.width().is_none_or(|width| width == written.len()), "{written}");
        }
    }
}

#[test]
fn numbers_with_the_highest_bit_are_written_in_no_form() {
    for format in Format::ALL {
        assert_eq!(scheme().write(1 << 63, format), Err(BadId::TooLarge { format }));
    }
    assert!(base32(1 << 63).is_err() && base62(u64::MAX).is_err());
}

#[test]
fn a_time_beyond_48_bits_has_no_uuid_and_no_ulid() {
    let late = IdScheme::new("c", (1 << 48) - 1, 41);
    assert!(late.write(0, Format::Uuid7).is_ok() && late.write(0, Format::Ulid).is_ok());
    for format in [Format::Uuid7, Format::Ulid] {
        assert_eq!(late.write(1 << 22, format), Err(BadId::TooLate { format }));
    }
    assert!(late.write(1 << 22, Format::Base32).is_ok());
}

#[test]
fn what_is_wrong_with_a_text_is_said() {
    let scheme = scheme();
    let uuid = Text::from(uuid::write(scheme.uuid7(1 << 50).unwrap() ^ 1));
    let ulid = Text::from(crockford::write::<26>(scheme.ulid(1 << 50).unwrap() ^ 1));
    for (bad, words) in [
        ("", "an ID is a decimal number"),
        ("abc", "an ID is a decimal number"),
        ("9223372036854775808", "this decimal is a larger number"),
        ("99999999999999999999999", "this decimal is a larger number"),
        ("U123456789ABC", "'U' at position 0 has no place in base32"),
        ("8ZZZZZZZZZZZZ", "this base32 is a larger number"),
        ("zzzzzzzzzzz", "this base62 is a larger number"),
        ("8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "this ulid is a larger number"),
        ("00000000000000000000000000", "the time of this ulid lies outside"),
        ("7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "the time of this ulid lies outside"),
        ("00000000-0000-0000-0000-000000000000", "not of version 7"),
        ("0193f5f7-cb53-7000-c000-000000000000", "not of version 7"),
        ("00000000-0000-7000-8000-000000000000", "the time of this uuid7 lies outside"),
        (&uuid, "this uuid7 was not made by this cluster"),
        (&ulid, "this ulid was not made by this cluster"),
    ] {
        let said = scheme.read(bad).unwrap_err().to_string();
        assert!(said.contains(words), "{bad:?}: {said}");
    }
    let width = BadId::Width { format: Format::Base32, expected: 13, found: 2 };
    assert_eq!(scheme.read_as("42", Format::Base32), Err(width));
    assert_eq!(width.to_string(), "base32 has 13 characters, this has 2");
}

#[test]
fn another_clusters_uuids_and_ulids_are_told_apart() {
    let other = IdScheme::new("another", EPOCH_MS, 41);
    for format in [Format::Uuid7, Format::Ulid] {
        let written = text(other, 1 << 50, format);
        assert_eq!(scheme().read(&written), Err(BadId::Foreign { format }));
    }
    assert_eq!(scheme().read(&text(other, 1 << 50, Format::Base32)), Ok((1 << 50, Format::Base32)));
}

#[test]
fn a_range_covers_its_milliseconds_and_no_other() {
    let scheme = scheme();
    let range = scheme.range(EPOCH_MS + 5, EPOCH_MS + 7).unwrap();
    assert_eq!((range.first, range.last), (5 << 22, (7 << 22) - 1));
    assert_eq!(scheme.range(EPOCH_MS, scheme.end_ms() + 1), Ok(IdRange { first: 0, last: u64::MAX >> 1 }));
    let (from_ms, to_ms) = (EPOCH_MS + 7, EPOCH_MS + 7);
    assert_eq!(scheme.range(from_ms, to_ms), Err(BadRange::Empty { from_ms, to_ms }));
    assert!(matches!(scheme.range(from_ms, 0), Err(BadRange::Empty { .. })));
    let early = BadRange::BeforeEpoch { from_ms: EPOCH_MS - 1, epoch_ms: EPOCH_MS };
    assert_eq!(scheme.range(EPOCH_MS - 1, to_ms), Err(early));
    let end_ms = scheme.end_ms();
    assert_eq!(scheme.range(EPOCH_MS, end_ms + 2), Err(BadRange::AfterEnd { to_ms: end_ms + 2, end_ms }));
    assert_eq!(scheme.range(end_ms + 1, u64::MAX), Err(BadRange::AfterEnd { to_ms: u64::MAX, end_ms }));
}

proptest! {
    #[test]
    fn every_form_leads_back_to_the_id(scheme in schemes(), id in ids()) {
        for format in Format::ALL {
            let written = text(scheme, id, format);
            prop_assert_eq!(scheme.read_as(&written, format), Ok(id), "{}", written);
            if format != Format::Base62 {
                prop_assert_eq!(scheme.read_as(&written.to_ascii_uppercase(), format), Ok(id), "{}", written);
                prop_assert_eq!(scheme.read_as(&written.to_ascii_lowercase(), format), Ok(id), "{}", written);
            }
        }
    }

    #[test]
    fn texts_of_fixed_width_sort_as_the_ids_do(scheme in schemes(), one in ids(), other in ids(), near in 0..5_000_u64) {
        for (one, other) in [(one, other), (one, one.saturating_add(near).min(u64::MAX >> 1))] {
            for format in Format::ALL.into_iter().filter(|format| format.width().is_some()) {
                let texts = (text(scheme, one, format), text(scheme, other, format));
                prop_assert_eq!(texts.0.cmp(&texts.1), one.cmp(&other), "{:?}", texts);
            }
        }
    }

    #[test]
    fn other_implementations_read_the_same(id in ids()) {
        let scheme = scheme();
        let parsed = ::uuid::Uuid::parse_str(&text(scheme, id, Format::Uuid7)).unwrap();
        prop_assert_eq!(parsed.as_u128(), scheme.uuid7(id).unwrap());
        prop_assert_eq!((parsed.get_version_num(), parsed.get_variant()), (7, ::uuid::Variant::RFC4122));
        let (seconds, nanos) = parsed.get_timestamp().unwrap().to_unix();
        prop_assert_eq!(seconds * 1_000 + u64::from(nanos) / 1_000_000, scheme.unix_ms(id));

        let parsed = ulid::Ulid::from_string(&text(scheme, id, Format::Ulid)).unwrap();
        prop_assert_eq!(parsed.0, scheme.ulid(id).unwrap());
        prop_assert_eq!(parsed.timestamp_ms(), scheme.unix_ms(id));

        let padded = ulid::Ulid(u128::from(id)).to_string();
        let (zeros, digits) = padded.split_at(13);
        prop_assert!(zeros.bytes().all(|byte| byte == b'0'));
        prop_assert_eq!(digits, text(scheme, id, Format::Base32));
        let unpadded = ::base62::encode(id);
        prop_assert_eq!(format!("{unpadded:0>11}"), text(scheme, id, Format::Base62));
        prop_assert_eq!(id.to_string(), text(scheme, id, Format::Decimal));
    }

    #[test]
    fn a_written_id_is_told_for_what_it_is_unless_it_is_all_digits(id in ids()) {
        for format in Format::ALL {
            let written = text(scheme(), id, format);
            let all_digits = written.bytes().all(|byte| byte.is_ascii_digit()) && !written.starts_with('0');
            let told = Format::of(&written);
            prop_assert_eq!(told, Some(if all_digits { Format::Decimal } else { format }), "{}", written);
        }
    }

    #[test]
    fn every_id_of_a_range_lies_within_its_texts_and_no_other(
        from in 0..1_u64 << 41, length in 1..100_000_u64, id in ids(), any: (u128, u128),
    ) {
        let scheme = scheme();
        let (from_ms, to_ms) = (EPOCH_MS + from, EPOCH_MS + (from + length).min(1 << 41));
        let range = scheme.range(from_ms, to_ms).unwrap();
        let inside = range.first + id % (range.last - range.first + 1);
        for id in [id, range.first, range.last, inside] {
            let belongs = (from_ms..to_ms).contains(&scheme.unix_ms(id));
            for format in [Format::Base32, Format::Base62, Format::Uuid7, Format::Ulid] {
                let (first, last) = scheme.write_range(range, format).unwrap();
                let written = scheme.write(id, format).unwrap();
                prop_assert_eq!((first..=last).contains(&written), belongs, "{} {}", format, written);
            }
            prop_assert_eq!((range.first..=range.last).contains(&id), belongs);
        }
        // Any other UUID of version 7 and any other ULID of a time in the range lie within, too.
        let time = u128::from(from_ms) << 80;
        let foreign = ::uuid::Builder::from_unix_timestamp_millis(from_ms, &any.0.to_be_bytes()[..10].try_into().unwrap());
        let (first, last) = scheme.write_range(range, Format::Uuid7).unwrap();
        prop_assert!((first.as_str()..=last.as_str()).contains(&foreign.into_uuid().to_string().as_str()));
        let foreign = ulid::Ulid(time | any.1 & ((1 << 80) - 1)).to_string();
        let (first, last) = scheme.write_range(range, Format::Ulid).unwrap();
        prop_assert!((first.as_str()..=last.as_str()).contains(&foreign.as_str()));
    }

    #[test]
    fn no_text_and_no_scheme_makes_it_panic(
        text in "\\PC{0,40}", digits in "[0-9A-Za-z-]{11,36}", cluster in ".{0,9}", epoch: u64, time: u8, id: u64,
        number: u128, range: (u64, u64),
    ) {
        let scheme = IdScheme::new(&cluster, epoch, time);
        for text in [&text, &digits] {
            let _ = scheme.read(text);
            for format in Format::ALL {
                let _ = (scheme.read_as(text, format), scheme.write(id, format));
            }
        }
        let _ = (scheme.id_of_uuid7(number), scheme.id_of_ulid(number), scheme.end_ms(), scheme.unix_ms(id));
        if let Ok(range) = scheme.range(range.0, range.1) {
            let _ = Format::ALL.map(|format| scheme.write_range(range, format));
        }
    }
}

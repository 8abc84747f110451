//! Sheets of labels: codes on paper.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;

use crate::operator::{done, listed, program, run};
use crate::page::{codes_on, page_at, submit};
use crate::support::{Center, on_both_databases, text};

on_both_databases!(
    a_sheet_has_a_label_for_each_new_code_and_only_its_owner_can_read_it,
    a_sheet_never_overwrites_and_then_no_codes_are_created,
    a_sheet_is_drawn_again_for_those_who_have_the_codes,
    a_sheet_comes_with_new_codes_on_the_page,
);

/// The codes on the labels of a document, as they are typed.
fn labels(pdf: &[u8]) -> Vec<String> {
    let pdf = String::from_utf8_lossy(pdf);
    assert!(pdf.starts_with("%PDF-"), "{pdf}");
    let shown = pdf.lines().filter_map(|line| line.strip_prefix('(')?.strip_suffix(") Tj")).collect::<Vec<_>>();
    let first_half = |pair: &&[&str]| pair[0].len() == 10 && pair[0].ends_with('-') && pair[1].len() == 9;
    shown.windows(2).filter(first_half).map(<[&str]>::concat).collect()
}

async fn a_sheet_has_a_label_for_each_new_code_and_only_its_owner_can_read_it(center: Center) {
    let create = ["code", "create", "--site", "North", "--count", "30", "--pdf", "labels.pdf", "--paper", "letter", "--json"];
    let made = listed(&center, &create);
    let path = center.place().join("labels.pdf");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let pdf = std::fs::read(path).unwrap();
    let codes = labels(&pdf).iter().map(|code| code.replace('-', "")).collect::<Vec<_>>();
    assert_eq!(codes, made.iter().map(|made| text(made, "code")).collect::<Vec<_>>());
    let pdf = String::from_utf8_lossy(&pdf);
    assert!(pdf.contains("/Count 2\n") && pdf.contains(&format!("({}) Tj", text(&made[29], "id"))));
    assert_eq!(pdf.matches("(North) Tj").count(), 30);
}

async fn a_sheet_never_overwrites_and_then_no_codes_are_created(center: Center) {
    let path = center.place().join("labels.pdf");
    std::fs::write(&path, "other").unwrap();
    let refused = run(&center, &["code", "create", "--pdf", "labels.pdf"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("labels.pdf"));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "other");
    // Nor is an empty file left if no codes can be created.
    assert_eq!(run(&center, &["code", "create", "--partner", "nobody", "--pdf", "new.pdf"]).status.code(), Some(1));
    assert!(!center.place().join("new.pdf").exists());
    assert_eq!(listed(&center, &["code", "list", "--json"]).len(), 0);
}

async fn a_sheet_is_drawn_again_for_those_who_have_the_codes(center: Center) {
    let made = listed(&center, &["code", "create", "--count", "2", "--site", "North", "--json"]);
    let codes = made.iter().map(|made| text(made, "code")).collect::<Vec<_>>();
    let draw = |file: &str, codes: &[&str]| {
        std::fs::write(center.place().join("codes"), codes.join("\n")).unwrap();
        let mut program = program(&center, &["code", "sheet", file]);
        program.stdin(std::fs::File::open(center.place().join("codes")).unwrap()).output().unwrap()
    };
    let drawn = draw("again.pdf", &[&codes[1].to_lowercase(), "", &format!("osiris://{}", codes[0])]);
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let pdf = std::fs::read(center.place().join("again.pdf")).unwrap();
    assert_eq!(labels(&pdf).iter().map(|code| code.replace('-', "")).collect::<Vec<_>>(), [codes[1].clone(), codes[0].clone()]);
    assert_eq!(String::from_utf8_lossy(&pdf).matches("(North) Tj").count(), 2);
    done(&center, &["code", "revoke", &text(&made[1], "id")]);
    for (lines, code, reason) in [
        (vec![codes[0].as_str(), codes[1].as_str()], 1, "is revoked"),
        (vec!["0000111122223333"], 1, "no such code"),
        (vec![], 2, "1 to 10000 labels"),
    ] {
        let refused = draw("none.pdf", &lines);
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(code) && error.contains(reason), "{error}");
        assert!(!codes.iter().any(|code| error.contains(code)), "an error shows no code");
        assert!(!center.place().join("none.pdf").exists());
    }
}

async fn a_sheet_comes_with_new_codes_on_the_page(center: Center) {
    let made = submit(&center, "/codes", "site=North&partner=default&days=7&count=3").await;
    assert_eq!(made.status(), StatusCode::OK);
    let shown = made.text().await.unwrap();
    let documents = shown.split("href=\"data:application/pdf;base64,").skip(1).map(|rest| rest.split('"').next().unwrap());
    let documents = documents.map(|document| BASE64_STANDARD.decode(document).unwrap()).collect::<Vec<_>>();
    assert_eq!(documents.len(), 2, "A4 and US Letter");
    for document in documents {
        assert_eq!(labels(&document), codes_on(&shown));
    }
    assert!(!page_at(&center, "/").await.contains("application/pdf"));
}

import DeviceRPC
import Foundation
import TestSupport
import Testing

@Suite struct DeviceNameTests {
  @Test(
    arguments: [
      "sensor-1", "a b", "sensor-1@greenhouse", "127.0.0.1:40213", "[::1]:7", "caf\u{e9}", "Pümpe 7", "温度計", "Датчик", "חיישן",
      "सेंसर", "🌡", "q\u{301}", "각", String(repeating: "n", count: 255),
    ])
  func `what people write is a name`(name: String) { #expect(DeviceName.problem(with: name) == nil) }

  @Test(
    arguments: [
      ("", "is empty"), (String(repeating: "n", count: 256), "has 256 bytes, more than 255"), (" a", "begins with a space"),
      ("a ", "ends with a space"), ("a\u{a0}", "has another space than the usual one, U+00A0"),
      ("a\u{3000}b", "has another space than the usual one, U+3000"), ("a\nb", "has a control character, U+000A"),
      ("a\0", "has a control character, U+0000"), ("a\u{7f}", "has a control character, U+007F"),
      ("a\u{9b}", "has a control character, U+009B"), ("a\u{2028}b", "has a line separator, U+2028"),
      ("a\u{200b}", "has an invisible character, U+200B"), ("a\u{61c}b", "has an invisible character, U+061C"),
      ("\u{202e}a", "has an invisible character, U+202E"), ("a\u{ad}b", "has an invisible character, U+00AD"),
      ("a\u{34f}b", "has an invisible character, U+034F"), ("a\u{fe0f}", "has an invisible character, U+FE0F"),
      ("a\u{3164}b", "has an invisible character, U+3164"), ("a\u{2800}b", "has an invisible character, U+2800"),
      ("\u{feff}a", "has an invisible character, U+FEFF"), ("a\u{e0041}", "has an invisible character, U+E0041"),
      ("a\u{e000}", "has a character of private use, U+E000"), ("a\u{378}", "has a character that is not assigned, U+0378"),
      ("a\u{10ffff}", "has a character that is not assigned, U+10FFFF"),
      ("a\u{fffd}", "has a character that stands for what could not be read, U+FFFD"),
      ("cafe\u{301}", "is not in Unicode's Normalization Form C"), ("\u{212b}", "is not in Unicode's Normalization Form C"),
      ("가\u{11a8}", "is not in Unicode's Normalization Form C"), ("\u{3a9}\u{301}", "is not in Unicode's Normalization Form C"),
      ("\u{1e69}\u{327}", "is not in Unicode's Normalization Form C"),
      ("\u{1100}\u{1161}", "is not in Unicode's Normalization Form C"),
      ("a\u{301}\u{323}", "is not in Unicode's Normalization Form C"),
    ])
  func `what looks like something else is none`(text: String, problem: String) {
    #expect(DeviceName.problem(with: text) == problem)
  }

  @Test func `the normal form is Foundation's, for each character alone and behind a letter`() {
    var wrong: [String] = []
    for value in UInt32(0x20)...0x2ffff {
      guard let scalar = Unicode.Scalar(value) else { continue }
      for text in [String(scalar), "e" + String(scalar), "Ω" + String(scalar), "\u{9c7}" + String(scalar)] where !agrees(text) {
        wrong.append(text.unicodeScalars.map { String($0.value, radix: 16) }.joined(separator: " "))
      }
    }
    #expect(wrong.isEmpty)
  }

  @Test func `the normal form is Foundation's, for marks in any order`() {
    var generator = SeededGenerator(state: 24)
    let parts = Array("aeoAqΩиक\u{300}\u{301}\u{308}\u{323}\u{327}\u{328}\u{345}\u{93c}\u{9be}\u{9c7}\u{5b4}\u{5bc}\u{fb1d}\u{1e69}\u{1ea5}".unicodeScalars)
    var wrong: [String] = []
    for _ in 0..<20_000 {
      var text = ""
      for _ in 0..<Int.random(in: 1...6, using: &generator) {
        text.unicodeScalars.append(parts[Int.random(in: 0..<parts.count, using: &generator)])
      }
      if !agrees(text) { wrong.append(text.unicodeScalars.map { String($0.value, radix: 16) }.joined(separator: " ")) }
    }
    #expect(wrong.isEmpty)
  }

  // Foundation composes Hangul differently from UAX #15.
  private func agrees(_ text: String) -> Bool {
    let problem = DeviceName.problem(with: text)
    let isNormal = Array(text.precomposedStringWithCanonicalMapping.utf8) == Array(text.utf8)
    return problem == nil ? isNormal : problem?.hasSuffix("Form C") != true || !isNormal
  }
}

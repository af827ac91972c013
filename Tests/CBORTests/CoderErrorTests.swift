import CBOR
import Testing

@Suite("Refusals of the decoder")
struct CoderErrorTests {
  @Test(
    "A number that does not fit is refused as corrupt",
    arguments: ["190100", "20", "f93e00", "f95c00", "f97c00", "f97e00", "fb7e37e43c8800759c"])
  func misfits(_ bytes: String) {
    #expect {
      try CBORDecoder().decode([UInt8].self, from: hex("82 00") + hex(bytes))
    } throws: { error in
      guard case DecodingError.dataCorrupted(let context) = error else { return false }
      return context.codingPath.map(\.intValue) == [1]
    }
  }

  @Test("Numbers out of the range of 64 bits are refused as corrupt")
  func hugeNumbers() {
    let decoder = CBORDecoder()
    for (type, bytes) in [
      (Int.self, "1bffffffffffffffff"), (Int.self, "3bffffffffffffffff"),
      (Int64.self, "3b8000000000000000"), (UInt64.self, "20"), (Int.self, "fb43e0000000000000"),
      (Float.self, "fb7e37e43c8800759c"),
    ] as [(any Decodable.Type, String)] {
      #expect {
        try decoder.decode(type, from: hex(bytes))
      } throws: { error in
        if case DecodingError.dataCorrupted = error { true } else { false }
      }
    }
  }

  @Test("A wrong type, a missing key and a missing value name the coding path")
  func wrongTypes() {
    let decoder = CBORDecoder()
    #expect {
      try decoder.decode([String: [Int]].self, from: hex("a1616182016162"))
    } throws: { error in
      guard case DecodingError.typeMismatch(_, let context) = error else { return false }
      return context.codingPath.map(\.stringValue) == ["a", "1"]
        && context.debugDescription == "Expected Int but found a text string."
    }
    #expect {
      try decoder.decode(GoliothResult.self, from: hex("a1626964 6161"))
    } throws: { error in
      guard case DecodingError.keyNotFound(let key, _) = error else { return false }
      return key.stringValue == "statusCode"
    }
    #expect {
      try decoder.decode([Int].self, from: hex("81f6"))
    } throws: { error in
      if case DecodingError.valueNotFound = error { true } else { false }
    }
  }

  @Test(
    "A malformed message is refused as corrupt with the error that names the byte",
    arguments: [
      ("82636162636261", CBORError(.truncated, .textString, at: 5)),
      ("0000", CBORError(.trailingBytes, at: 1)),
      ("a2616101616102", CBORError(.duplicateKey, at: 4)),
      ("a1f600", CBORError(.keyNotText, at: 1)),
      ("a1c1616100", CBORError(.keyNotText, at: 1)),
    ])
  func malformed(_ bytes: String, _ expected: CBORError) {
    #expect {
      try CBORDecoder().decode([String: Int].self, from: hex(bytes))
    } throws: { error in
      guard case DecodingError.dataCorrupted(let context) = error else { return false }
      return context.underlyingError as? CBORError == expected
        && context.debugDescription == expected.description
    }
  }
}

/// What a device may be called, and the identity with which it proves itself, which is of the same kind.
///
/// Names are compared as bytes by databases and on the wire, and by canonical equivalence by Swift; people compare what they
/// see. A text whose three comparisons could differ is no name.
public enum DeviceName {
  /// Bytes of the longest name. 255, the longest option value of CoAP.
  public static let longest = 255

  /// Why a text is no name, as the rest of a sentence about it: `has an invisible character, U+200B`; nil for a name.
  ///
  /// A name has 1 to `longest` bytes of UTF-8 in Normalization Form C (UAX #15), of characters that are seen, and spaces
  /// between them. Control and format characters, ignorable ones, other spaces than U+0020, line separators, private use,
  /// and what Unicode has not assigned, are refused.
  public static func problem(with text: String, longest: Int = DeviceName.longest) -> String? {
    let count = text.utf8.count
    guard count > 0 else { return "is empty" }
    guard count <= longest else { return "has \(count) bytes, more than \(longest)" }
    if text.utf8.first == UInt8(ascii: " ") { return "begins with a space" }
    if text.utf8.last == UInt8(ascii: " ") { return "ends with a space" }
    if text.utf8.allSatisfy({ (0x20...0x7e).contains($0) }) { return nil }
    for scalar in text.unicodeScalars {
      if let what = what(isWrongWith: scalar) { return "has \(what), \(scalar.codePoint)" }
    }
    return isNormalized(text) ? nil : "is not in Unicode's Normalization Form C"
  }

  private static func what(isWrongWith scalar: Unicode.Scalar) -> String? {
    let properties = scalar.properties
    switch properties.generalCategory {
    case .control: return "a control character"
    case .lineSeparator, .paragraphSeparator: return "a line separator"
    case .spaceSeparator where scalar != " ": return "another space than the usual one"
    case .privateUse: return "a character of private use"
    case .unassigned, .surrogate: return "a character that is not assigned"
    case .format: return "an invisible character"
    default: break
    }
    // BRAILLE PATTERN BLANK is a symbol by its category.
    if properties.isDefaultIgnorableCodePoint || scalar == "\u{2800}" { return "an invisible character" }
    return scalar == "\u{fffd}" ? "a character that stands for what could not be read" : nil
  }

  /// Swift orders strings by their scalars in Normalization Form C, in which U+0000 comes first and U+10FFFF last, and neither
  /// combines with anything. So of a prefix that is normalized, a text with one scalar more is normalized itself exactly if
  /// it stands between the prefix with the one and with the other behind it.
  private static func isNormalized(_ text: String) -> Bool {
    var prefix = ""
    for scalar in text.unicodeScalars {
      if scalar.properties.isFullCompositionExclusion { return false }
      var longer = prefix
      longer.unicodeScalars.append(scalar)
      // Below U+0300 nothing combines with what stands before it.
      if scalar.value >= 0x300, !prefix.isEmpty {
        guard prefix + "\u{0}" < longer, longer < prefix + "\u{10ffff}" else { return false }
      }
      prefix = longer
    }
    return true
  }
}

extension Unicode.Scalar {
  /// `U+200B`.
  fileprivate var codePoint: String {
    let digits = String(value, radix: 16, uppercase: true)
    return "U+" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
  }
}

/// The rules for device names. Identities in credentials follow the same rules.
///
/// Databases and the wire compare names as bytes, Swift compares them by canonical equivalence, and people compare what they
/// see. A text for which these comparisons could differ is not a valid name.
public enum DeviceName {
  /// The length of the longest name: 255 bytes, the longest option value of CoAP.
  public static let longest = 255

  /// Returns why a text is not a valid name, as the rest of a sentence: `has an invisible character, U+200B`. Nil for a valid
  /// name.
  ///
  /// A name has 1 to `longest` bytes of UTF-8 in Normalization Form C (UAX #15). It consists of visible characters and of single
  /// or repeated spaces (U+0020) between them. Refused are control and format characters, ignorable characters, other spaces,
  /// line separators, private use characters, and code points that Unicode has not assigned.
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

  /// Swift orders strings by their scalars in Normalization Form C. U+0000 is the first of these, U+10FFFF is the last, and
  /// neither combines with other scalars. Given a normalized prefix, the prefix with one more scalar is therefore normalized
  /// exactly if it sorts between the prefix with U+0000 and the prefix with U+10FFFF appended.
  private static func isNormalized(_ text: String) -> Bool {
    var prefix = ""
    for scalar in text.unicodeScalars {
      if scalar.properties.isFullCompositionExclusion { return false }
      var longer = prefix
      longer.unicodeScalars.append(scalar)
      // Scalars below U+0300 never combine with the preceding one.
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

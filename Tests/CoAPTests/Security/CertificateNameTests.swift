import CoAP
import Crypto
import Foundation
import SwiftASN1
import Testing
import X509

/// By what the bearer of a certificate is known.
@Suite struct CertificateNameTests {
  @Test(
    "The common name is read as it is, whatever stands beside it",
    arguments: ["sensor-1", "a/b", "a/CN=b", "CN=pump", "pümpe", "泵", " a ", "a,b+c=\"d\"", String(repeating: "a", count: 255)])
  func commonName(_ name: String) throws {
    let subject = try DistinguishedName {
      CountryName("DE")
      OrganizationName("CN=pump")
      OrganizationalUnitName("/CN=pump")
      CommonName(name)
    }
    #expect(try self.name(subject) == name)
  }

  @Test("A name is the same in all the ways in which it may be written")
  func encodings() throws {
    for value in try [
      RelativeDistinguishedName.Attribute.Value(printableString: "pump"), .init(ia5String: "pump"),
      .init(utf8String: "pump"),
    ] {
      #expect(try name(subject([.init(type: .RDNAttributeType.commonName, value: value)])) == "pump")
    }
  }

  @Test("Of several common names the last one counts, as it is the most specific")
  func several() throws {
    let subject = try DistinguishedName {
      CommonName("plant")
      CommonName("pump")
      OrganizationName("lab")
    }
    #expect(try name(subject) == "pump")
  }

  @Test("The first DNS name goes before the common name")
  func dnsName() throws {
    let names: [GeneralName] = [.rfc822Name("a@b"), .dnsName("gate.lab"), .dnsName("door.lab")]
    #expect(try name(subject("pump"), names) == "gate.lab")
    #expect(try name(subject("pump"), [.rfc822Name("a@b")]) == "pump")
    #expect(try name(DistinguishedName(), names) == "gate.lab")
  }

  @Test(
    "A name that is missing, empty, too long or has a NUL is none",
    arguments: ["", "pump\0", "pump\0.lab", String(repeating: "a", count: 256), nil])
  func unusable(_ name: String?) throws {
    let subject = try subject(name)
    #expect(try self.name(subject) == nil)
    // The common name does not stand in for a DNS name that is there.
    if let name { #expect(try self.name(self.subject("pump"), [.dnsName(name), .dnsName("gate.lab")]) == nil) }
  }

  @Test("Alternative names that cannot be read, or are there twice, are no reason to look further")
  func broken() throws {
    let broken = Certificate.Extension(oid: .X509ExtensionID.subjectAlternativeName, critical: false, value: [0x30, 5, 1])
    #expect(try name(subject("pump"), extensions: [broken]) == nil)
  }

  @Test("What is no certificate has no name", arguments: [[], [0x30], [0x30, 3, 2, 1, 1]] as [[UInt8]])
  func noCertificate(_ der: [UInt8]) { #expect(CoAPIdentity(certificate: der) == nil) }

  // MARK: Certificates

  private func subject(_ commonName: String?) throws -> DistinguishedName {
    guard let commonName else { return try DistinguishedName { OrganizationName("lab") } }
    return try subject([.init(type: .RDNAttributeType.commonName, utf8String: commonName)])
  }

  private func subject(_ attributes: [RelativeDistinguishedName.Attribute]) throws -> DistinguishedName {
    DistinguishedName(attributes.map { RelativeDistinguishedName($0) })
  }

  private func name(
    _ subject: DistinguishedName, _ names: [GeneralName] = [], extensions: [Certificate.Extension] = []
  ) throws -> String? {
    let key = P256.Signing.PrivateKey()
    var all = extensions
    if !names.isEmpty { all.append(try Certificate.Extension(SubjectAlternativeNames(names), critical: false)) }
    let certificate = try Certificate(
      version: .v3, serialNumber: Certificate.SerialNumber(1), publicKey: .init(key.publicKey),
      notValidBefore: Date(timeIntervalSince1970: 0), notValidAfter: Date(timeIntervalSince1970: 1), issuer: subject,
      subject: subject, extensions: Certificate.Extensions(all), issuerPrivateKey: .init(key))
    var serializer = DER.Serializer()
    try serializer.serialize(certificate)
    return CoAPIdentity(certificate: serializer.serializedBytes)?.name
  }
}

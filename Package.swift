// swift-tools-version: 6.2
import PackageDescription

let strictForTests: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .treatAllWarnings(as: .error),
]
// Not for tests: which module owns a type of the C library that CLibcoap's headers name too, such as sockaddr_in,
// depends on the order in which the compiler happens to load them.
let strict = strictForTests + [.enableUpcomingFeature("MemberImportVisibility")]

let package = Package(
  name: "swift-device-rpc",
  products: [
    .library(name: "DeviceRPC", targets: ["DeviceRPC"]),
    .library(name: "DeviceRPCCoAP", targets: ["DeviceRPCCoAP"]),
    .library(name: "DeviceRPCHTTP", targets: ["DeviceRPCHTTP"]),
    .library(name: "DeviceRPCStore", targets: ["DeviceRPCStore"]),
    .library(name: "DeviceRPCTesting", targets: ["DeviceRPCTesting"]),
    .library(name: "DeviceSimulator", targets: ["DeviceSimulator"]),
    .library(name: "CBOR", targets: ["CBOR"]),
    .executable(name: "device-rpc", targets: ["device-rpc"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-asn1", from: "1.3.0"),
    .package(url: "https://github.com/apple/swift-certificates", from: "1.21.0"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.1.0"),
    .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.1.0"),
    .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.14.0"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.5.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.30.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.6.0"),
    .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.0"),
  ],
  targets: [
    .systemLibrary(
      name: "CLibcoap", pkgConfig: "libcoap-3-openssl", providers: [.apt(["libcoap3-dev"])]),
    .systemLibrary(name: "CLibcbor", pkgConfig: "libcbor", providers: [.apt(["libcbor-dev"])]),
    .target(
      name: "CoAP",
      dependencies: [
        "CLibcoap", .product(name: "HeapModule", package: "swift-collections"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: strict),
    .target(name: "CBOR", dependencies: ["CLibcbor"], swiftSettings: strict),
    .target(
      name: "DeviceRPC",
      dependencies: [
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "CryptoExtras", package: "swift-crypto"),
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "HashTreeCollections", package: "swift-collections"),
        .product(name: "HeapModule", package: "swift-collections"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Metrics", package: "swift-metrics"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "Tracing", package: "swift-distributed-tracing"),
      ],
      swiftSettings: strict),
    .target(
      name: "DeviceRPCCoAP",
      dependencies: [
        "CoAP", "CBOR", "DeviceRPC",
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Metrics", package: "swift-metrics"),
      ],
      swiftSettings: strict),
    .target(
      name: "DeviceRPCStore",
      dependencies: [
        "DeviceRPC",
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "GRDB", package: "GRDB.swift"),
        .product(name: "HashTreeCollections", package: "swift-collections"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: strict),
    .target(
      name: "DeviceRPCHTTP",
      dependencies: [
        "DeviceRPC",
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "HTTPTypes", package: "swift-http-types"),
        .product(name: "JWTKit", package: "jwt-kit"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdCore", package: "hummingbird"),
        .product(name: "HummingbirdTLS", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Metrics", package: "swift-metrics"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "Tracing", package: "swift-distributed-tracing"),
      ],
      resources: [.embedInCode("Console/Web")], swiftSettings: strict),
    .target(
      name: "DeviceSimulator",
      dependencies: ["CoAP", "CBOR", .product(name: "Logging", package: "swift-log")],
      swiftSettings: strict),
    .target(
      name: "DeviceRPCTesting",
      dependencies: ["DeviceRPC", .product(name: "Logging", package: "swift-log")],
      swiftSettings: strict),
    .executableTarget(
      name: "device-rpc",
      dependencies: [
        "CoAP", "DeviceRPC", "DeviceRPCCoAP", "DeviceRPCHTTP", "DeviceRPCStore", "DeviceSimulator",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "AsyncHTTPClient", package: "async-http-client"),
        .product(name: "Configuration", package: "swift-configuration"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Metrics", package: "swift-metrics"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "SwiftASN1", package: "swift-asn1"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
        .product(name: "X509", package: "swift-certificates"),
      ],
      swiftSettings: strict),
    .target(
      name: "TestSupport", dependencies: [.product(name: "Logging", package: "swift-log")], path: "Tests/TestSupport",
      swiftSettings: strict),
    .testTarget(name: "CBORTests", dependencies: ["CBOR", "TestSupport"], swiftSettings: strictForTests),
    .testTarget(
      name: "CoAPTests",
      dependencies: [
        "CoAP", "TestSupport",
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "SwiftASN1", package: "swift-asn1"),
        .product(name: "X509", package: "swift-certificates"),
      ],
      swiftSettings: strictForTests),
    .testTarget(
      name: "DeviceRPCTests",
      dependencies: [
        "DeviceRPC", "DeviceRPCTesting", "TestSupport",
        .product(name: "InMemoryTracing", package: "swift-distributed-tracing"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "MetricsTestKit", package: "swift-metrics"),
        .product(name: "Metrics", package: "swift-metrics"),
        .product(name: "Tracing", package: "swift-distributed-tracing"),
      ],
      swiftSettings: strictForTests),
    .testTarget(
      name: "FuzzTests",
      dependencies: [
        "CoAP", "DeviceRPC", "DeviceRPCCoAP", "DeviceSimulator", "TestSupport",
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: strict),
    .testTarget(
      name: "DeviceRPCCoAPTests",
      dependencies: [
        "DeviceRPC", "DeviceRPCCoAP", "DeviceSimulator", "CoAP", "CBOR", "TestSupport",
        .product(name: "Logging", package: "swift-log"),
        .product(name: "MetricsTestKit", package: "swift-metrics"),
        .product(name: "Metrics", package: "swift-metrics"),
      ],
      swiftSettings: strictForTests),
    .testTarget(
      name: "DeviceRPCHTTPTests",
      dependencies: [
        "DeviceRPC", "DeviceRPCHTTP", "DeviceRPCTesting", "TestSupport",
        .product(name: "AsyncHTTPClient", package: "async-http-client"),
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdTesting", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "InMemoryTracing", package: "swift-distributed-tracing"),
        .product(name: "Metrics", package: "swift-metrics"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
        .product(name: "Tracing", package: "swift-distributed-tracing"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "SwiftASN1", package: "swift-asn1"),
        .product(name: "X509", package: "swift-certificates"),
      ],
      swiftSettings: strictForTests),
    .testTarget(
      name: "DeviceRPCStoreTests",
      dependencies: [
        "DeviceRPC", "DeviceRPCStore", "store-writer",
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "GRDB", package: "GRDB.swift"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: strictForTests),
    .executableTarget(
      name: "store-writer", dependencies: ["DeviceRPC", "DeviceRPCStore"], path: "Tests/StoreWriter",
      swiftSettings: strictForTests),
    .testTarget(
      name: "DeviceSimulatorTests",
      dependencies: [
        "DeviceSimulator", "DeviceRPC", "DeviceRPCCoAP", "CBOR", "CoAP",
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: strictForTests),
    .testTarget(
      name: "ForeignClientTests",
      dependencies: [
        "DeviceRPC", "DeviceRPCCoAP", "CoAP", "device-rpc", "TestSupport",
        .product(name: "Logging", package: "swift-log"),
      ],
      exclude: ["Resources"], swiftSettings: strictForTests),
    .testTarget(
      name: "ConformanceTests",
      dependencies: [
        "CoAP", "DeviceRPC", "DeviceRPCCoAP", "DeviceRPCHTTP", "DeviceRPCTesting", "DeviceSimulator",
        .product(name: "AsyncHTTPClient", package: "async-http-client"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      swiftSettings: strictForTests),
    .testTarget(
      name: "CommandTests",
      dependencies: [
        "device-rpc", "DeviceRPC", "DeviceRPCStore", "DeviceSimulator", "TestSupport",
        .product(name: "AsyncHTTPClient", package: "async-http-client"),
        .product(name: "GRDB", package: "GRDB.swift"),
        .product(name: "NIOCore", package: "swift-nio"),
      ],
      swiftSettings: strictForTests),
  ],
  swiftLanguageModes: [.v6]
)

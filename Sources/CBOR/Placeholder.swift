import CLibcbor

import CLibcoap

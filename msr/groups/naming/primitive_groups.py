"""Primitive groups that their degree and order single out, among all primitive groups of up to 100 points."""

__all__ = ["primitive_name"]

# A line: a name, the order, and the degrees at which no other primitive group has that order. Up to 100 points all
# primitive groups are known (Dixon and Mortimer, 1988; Roney-Dougal, 2005); the pairs were counted in GAP's library
# PrimGrp, and a test counts them again. Left out are groups that are named without it: symmetric and alternating ones
# in any action, those of prime degree within AGL(1,p), and those small enough for a table.
_LINES = """
AGL(3,2) 1344 8
PΓL(2,8) 1512 9 28 36
PΓL(2,9) 1440 10 36 45
M11 7920 11 12 55 66
PGL(2,11) 1320 12 66
M12 95040 12 66
PSL(3,3) 5616 13
PSL(2,13) 1092 14 78
PGL(2,13) 2184 14 78
AGL(2,4) 2880 16
C2^4:S6 11520 16
C2^4:A7 40320 16
AGL(4,2) 322560 16
PSL(2,16) 4080 17 68
PΓL(2,16) 16320 17
PSL(2,17) 2448 18
PGL(2,17) 4896 18
PSL(2,19) 3420 20 57
PGL(2,19) 6840 20
PSL(3,4) 20160 21
PΣL(3,4) 40320 21
PGL(3,4) 60480 21
PΓL(3,4) 120960 21
M22 443520 22 77
Aut(M22) 887040 22 77
M23 10200960 23
PSL(2,23) 6072 24
PGL(2,23) 12144 24
M24 244823040 24
ASL(2,5) 3000 25
AGL(2,5) 12000 25
PSL(2,25) 7800 26 65
PΓL(2,25) 31200 26
AΓL(1,27) 2106 27
PSp(4,3) 25920 27 36 45
PSp(4,3):C2 51840 27 36 45
ASL(3,3) 151632 27
AGL(3,3) 303264 27
PSU(3,3) 6048 28 36
PSL(2,27) 9828 28
PΓU(3,3) 12096 28 36
PGL(2,27) 19656 28
PΣL(2,27) 29484 28
PΓL(2,27) 58968 28
PSp(6,2) 1451520 28 36 63
PSL(2,29) 12180 30
PGL(2,29) 24360 30
PSL(3,5) 372000 31
PSL(5,2) 9999360 31
AΓL(1,32) 4960 32
PSL(2,31) 14880 32
PGL(2,31) 29760 32
AGL(5,2) 319979520 32
PSL(2,32) 32736 33
PΓL(2,32) 163680 33
PSL(2,37) 25308 38
PGL(2,37) 50616 38
PSL(4,3) 6065280 40
PGL(4,3) 12130560 40
PSL(2,41) 34440 42
PGL(2,41) 68880 42
PSL(2,43) 39732 44
PGL(2,43) 79464 44
PSL(2,47) 51888 48
PGL(2,47) 103776 48
AΓL(1,49) 4704 49
ASL(2,7) 16464 49
AGL(2,7) 98784 49
PSL(2,49) 58800 50
PSU(3,5) 126000 50
PΓL(2,49) 235200 50
Aut(PSL(3,3)) 11232 52
PSL(2,53) 74412 54
PGL(2,53) 148824 54
PSL(3,7) 1876896 57
PGL(3,7) 5630688 57
PSL(2,59) 102660 60
PGL(2,59) 205320 60
PSL(2,61) 113460 62
PGL(2,61) 226920 62
PSL(6,2) 20158709760 63
AΣL(2,8) 96768 64
AΓL(2,8) 677376 64
ASL(3,4) 3870720 64
AΣL(3,4) 7741440 64
AGL(3,4) 11612160 64
AΓL(3,4) 23224320 64
AGL(6,2) 1290157424640 64
PΣL(2,25) 15600 65
Sz(8) 29120 65
PSU(3,4) 62400 65
Aut(Sz(8)) 87360 65
PΓU(3,4) 249600 65
PSL(2,64) 262080 65
PΓL(2,64) 1572480 65
PΣL(2,16) 16320 68
PSL(2,67) 150348 68
PGL(2,67) 300696 68
PSL(2,71) 178920 72
PGL(2,71) 357840 72
PSL(3,8) 16482816 73
PΓL(3,8) 49448448 73
PSL(2,73) 194472 74
PGL(2,73) 388944 74
PSL(2,79) 246480 80
PGL(2,79) 492960 80
AΓL(2,9) 933120 81
ASL(4,3) 982575360 81
AGL(4,3) 1965150720 81
PSL(2,81) 265680 82
PΓL(2,81) 2125440 82
PSL(2,83) 285852 84
PGL(2,83) 571704 84
PSp(4,4) 979200 85
PSL(4,4) 987033600 85
PΣL(4,4) 1974067200 85
PSL(2,89) 352440 90
PGL(2,89) 704880 90
PSL(3,9) 42456960 91
PΓL(3,9) 84913920 91
PSL(2,97) 456288 98
PGL(2,97) 912576 98
J2 604800 100
Aut(J2) 1209600 100
HS 44352000 100
Aut(HS) 88704000 100
"""


def primitive_name(degree: int, order: int) -> str | None:
    """The name of the only primitive group of this degree and order; None where the list here holds none.

    The list leaves out groups that are named without it: ``S_n`` and ``A_n`` in any action, subgroups of ``AGL(1,p)``,
    and groups of up to 1,024 elements.
    """
    return _NAMES.get((degree, order))


def _read(lines: str) -> dict[tuple[int, int], str]:
    """The name for each ``(degree, order)``, from lines of a name, an order and one degree or more."""
    names = {}
    for line in lines.split("\n"):
        if line:
            name, order, *degrees = line.split()
            names.update({(int(degree), int(order)): name for degree in degrees})
    return names


_NAMES = _read(_LINES)
"""The name of the only primitive group of each ``(degree, order)``."""

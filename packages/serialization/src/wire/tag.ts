// One byte in front of each value. Numbers are part of the wire format: add at the end of a group, never renumber; `formatVersion` changes with them.

export const formatVersion = 2;

export const tagUndefined = 0;
export const tagNull = 1;
export const tagFalse = 2;
export const tagTrue = 3;
/** Zigzag varint of a 32-bit integer. */
export const tagInt = 4;
export const tagFloat = 5;
export const tagBigInt = 6;
export const tagLatin1 = 7;
export const tagUtf16 = 8;
/** An object met before: varint index in order of first appearance. */
export const tagRef = 9;
/** Only inside arrays: no element here. */
export const tagHole = 10;
/** A plain object of a shape (list of keys) met before. */
export const tagShaped = 11;
/** A plain object whose shape follows. */
export const tagNewShape = 12;
/** Any object by property descriptors, with a prototype that is `Object.prototype`, null, or a value. */
export const tagDescribed = 13;
export const tagArray = 14;
export const tagSparseArray = 15;
/** A prototype and own properties beyond what the wrapped value's kind implies (class MyMap extends Map, arrays with extra keys). */
export const tagExtended = 16;
export const tagInstance = 17;
export const tagDate = 18;
export const tagRegExp = 19;
export const tagMap = 20;
export const tagSet = 21;
export const tagUrl = 22;
export const tagUrlSearchParams = 23;
export const tagBoxed = 24;
export const tagError = 25;
export const tagDomException = 26;
export const tagArrayBuffer = 27;
export const tagView = 28;
export const tagSymbolFor = 29;
export const tagSymbolKnown = 30;
export const tagSymbolUnique = 31;
export const tagWellKnown = 32;
export const tagExtension = 33;
export const tagRegistered = 34;
export const tagFunction = 35;
export const tagClass = 36;
/** Only as the root of a class blob. */
export const tagClassBody = 37;
export const tagModuleBinding = 38;
export const tagModuleSpecial = 39;
export const tagTextCodec = 40;
export const tagArrow = 41;

/** 64…127: a Latin-1 string of length tag − 64. */
export const tagShortString = 64;
export const shortStringMax = 63;
/** 128…255: the integers 0…127. */
export const tagSmallInt = 128;
export const smallIntMax = 127;

/** In place of the key of a registered serializer: the class follows, which has registered itself. */
export const byItsClass = "";

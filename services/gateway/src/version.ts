/** The product's; part of the API document, so that a release shows in it. A test holds it against package.json. */
export const version = '0.1.0';

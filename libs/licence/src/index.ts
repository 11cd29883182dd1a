export {
  claimedTerms,
  issueLicence,
  isLicenceKey,
  newLicenceKey,
  readLicence,
  type LicenceKey,
} from './licence.js';
